"""The password of the app: where it comes from, and who may see the page.

It is never a word of the command line, because every user of the machine sees those.
"""

import hmac
import os
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from studio.errors import StudioError, reason_of

__all__ = ["VARIABLE", "find_password", "password_check"]

VARIABLE = "STUDIO_PASSWORD"
SHORTEST = 8  # characters, because anyone who reaches the page may try as often as they like


def find_password(file: Path | None, ask: bool) -> str | None:
    """Returns the password of a file, of the terminal or of the environment, in this order.

    Args:
        file: text file in UTF-8 with the password in its first and only line.
        ask: whether to ask for it on the terminal. It is not shown.

    Returns:
        the password, without the end of its line. None if there is none.

    Raises:
        StudioError: the file cannot be read or has several lines, both places are named, there is
            no terminal, or the password is shorter than `SHORTEST` characters.
    """
    if file is not None and ask:
        raise StudioError("--password and --password-file: expected one of them, found both")
    if file is not None:
        return _check(_read(file), f"--password-file {file}")
    if ask:
        if not sys.stdin.isatty():
            raise StudioError(
                "--password: asks on the terminal, and there is none; expected --password-file "
                f"FILE or {VARIABLE}"
            )
        return _check(typer.prompt("Password", hide_input=True, err=True), "--password")
    given = os.environ.get(VARIABLE)
    return None if given is None else _check(given, VARIABLE)


def password_check(password: str) -> Callable[[str, str], bool]:
    """Returns a function (user, password) -> whether they may see the page.

    Every user's name is accepted. The time of the comparison does not depend on the password.
    """
    expected = password.encode(errors="surrogatepass")  # of a variable in another encoding

    def check(user: str, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="surrogatepass"), expected)

    return check


def _read(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StudioError(f"--password-file {file}: {reason_of(error)}") from None
    if len(lines) > 1:
        raise StudioError(
            f"--password-file {file}: found {len(lines)} lines, expected the password alone"
        )
    return "".join(lines)


def _check(password: str, place: str) -> str:
    if len(password) < SHORTEST:
        found = f"found {len(password)}" if password else "it is empty"
        raise StudioError(f"{place}: expected at least {SHORTEST} characters, {found}")
    return password
