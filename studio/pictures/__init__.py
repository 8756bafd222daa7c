"""The pictures of `studio render`, by what they show; `studio.render.kinds` lists them."""
