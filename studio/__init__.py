"""A generative studio for contrastive analysis: separate what two image sets share from what only one of them has.

from studio import Run

run = Run.open("runs/digits_dig-1")
code = run.encode(images)              # Code(z, s): common and salient
healed = run.heal(images)              # the same images with nothing salient in them
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.runs.run import Run

__all__ = ["Run", "__version__"]
__version__ = "0.1.0"


def _check_siblings() -> None:
    # `nets` and `losses` are plain names: a file `losses.py` in the user's folder would be imported instead of ours.
    home = Path(__file__).resolve().parent.parent
    for name in ("nets", "losses"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found != home / name / "__init__.py":
            raise ImportError(
                f"studio needs its own package {name!r} from {home}, but Python finds {found or 'nothing'}: "
                f"rename that file, or start from another folder"
            )


_check_siblings()


def __getattr__(name: str) -> Any:  # noqa: ANN401 - `Run` is imported on first use, so that `studio --help` needs no torch
    if name == "Run":
        from studio.runs.run import Run

        return Run
    raise AttributeError(f"module 'studio' has no attribute {name!r}")
