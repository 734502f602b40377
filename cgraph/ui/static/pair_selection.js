// Tells the matrix which cell is selected, and where the selected concept lies. It draws nothing.

export default function render({ data }) {
  // Kept on the document too, for a matrix that is mounted later than this.
  document.cgraphCell = data;
  document.dispatchEvent(new CustomEvent("cgraph:cell"));
}
