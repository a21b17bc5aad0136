"""Starts the OccFace app: `python app.py`. Also the entry point of the Hugging Face Space."""

import os

# Read by Gradio when it is imported: without it, it asks a server about new versions.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from demo.interface import create_app
from demo.serving import serve

if __name__ == "__main__":
    serve(create_app())
