"""What the pages show. A view owns its keys in the session and calls the library for the rest."""
