"""`studio app`: explores runs in the browser.

- `state` holds the open runs, the chosen images and the codes, and knows no web page.
- `uploads` reads files of the user.
- `pictures` turns tensors into pieces of a page.
- `page` arranges these pieces in Gradio components (the extra `app`).
- `server` serves the page on a port.
"""

__all__: list[str] = []
