// Tells the graph what is selected. It draws nothing: the graph's own message stays the same from
// click to click, so that Streamlit need not send the pictures again.

export default function render({ data }) {
  // Kept on the document too, for a graph that is mounted later than this.
  document.cgraphSelection = data;
  document.dispatchEvent(new CustomEvent("cgraph:selection"));
}
