// One of many figures on a page. What draws it is sent once (`figure_engine`, which holds
// `figure_view.js`), because Streamlit sends a component's script with every one of its kind.

export default function render({ data, parentElement, setTriggerValue }) {
  const show = () => {
    document.cgraphFigures.show({ data, parentElement, setTriggerValue });
  };
  parentElement.cgraphShow = show;
  if (document.cgraphFigures) {
    show();
  } else {
    // Only what was asked for last is shown when the engine arrives.
    document.addEventListener("cgraph:figures", () => parentElement.cgraphShow === show && show(), {
      once: true,
    });
  }
  return () => document.cgraphFigures?.stop(parentElement);
}
