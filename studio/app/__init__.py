"""`studio app`: a run in the browser.

`model` is what a person can do with a run and knows no web page; `uploads` reads their files; `pictures` turns tensors into
pieces of a page; `page` puts these into components (Gradio, the extra `app`), and `server` answers on a port.
"""

__all__: list[str] = []
