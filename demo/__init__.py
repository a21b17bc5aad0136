"""The browser app: Gradio layout, callbacks and Plotly figures over `occface_core`."""
