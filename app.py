"""Starts the OccFace app: `python app.py`. Also the entry point of the Hugging Face Space."""

from demo.environment import prepare


def main() -> None:
    """Serve the app until it is stopped."""
    prepare()
    # Only now: Gradio reads its environment when it is imported.
    from demo.interface import create_app
    from demo.serving import serve

    serve(create_app())


if __name__ == "__main__":
    main()
