"""Starts the OccFace app: `python app.py`. Also the entry point of the Hugging Face Space."""

from demo.environment import prepare


def main() -> None:
    """Serve the app until it is stopped."""
    prepare()
    from demo.serving import start  # only now: Gradio reads its environment when it is imported

    start()


if __name__ == "__main__":
    main()
