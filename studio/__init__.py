"""A generative studio for contrastive analysis.

It separates content that two image sets share from content that only one of them has:

    from studio import Run

    run = Run.open("runs/digits_dig-1")
    code = run.encode(images)              # Code(z, s): common and salient codes
    healed = run.heal(images)              # the pseudo-healthy counterparts of the images
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError
from studio.openmp import let_threads_sleep

if TYPE_CHECKING:
    from studio.method import Code
    from studio.user_run import Run

__all__ = ["Code", "Run", "StudioError", "__version__"]
__version__ = "0.1.0"


def _check_siblings() -> None:
    # A file `losses.py` or `nets.py` in the user's folder would be imported instead of our package.
    home = Path(__file__).resolve().parent.parent
    for name in ("nets", "losses"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found != home / name / "__init__.py":
            raise ImportError(
                f"studio needs its own package {name!r} from {home}, but Python finds "
                f"{found or 'nothing'}: rename that file, or start from another folder"
            )


_check_siblings()
let_threads_sleep()  # before anything imports torch


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's __getattr__ returns anything
    # Imported on first use, so that `studio --help` does not import torch.
    if name == "Run":
        from studio.user_run import Run

        return Run
    if name == "Code":
        from studio.method import Code

        return Code
    raise AttributeError(f"module 'studio' has no attribute {name!r}")
