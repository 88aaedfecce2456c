"""The script that makes virtual environments finds a Python that will do, and makes anew what is not whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "environments" / "venv.sh"
LIMIT = 60.0

# The Python of this test under another name. Its virtual environments are quick to make: they hold a link to it.
PYTHON = f"""#!/bin/sh
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && ln -s "$0" "$3/bin/python" && echo "made by $0" >> made.log ;;
    *) exec "{sys.executable}" "$@" ;;
esac
"""
NOT_RUNNING = "#!/bin/sh\necho 'pyenv: command not found' >&2; exit 127\n"
OLD = '#!/bin/sh\ncase "$*" in *version_info*) exit 1 ;; esac\n'
WITHOUT_VENV = f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; *) exec "{sys.executable}" "$@" ;; esac\n'
ANOTHER = PYTHON.replace("case", 'case "$*" in *base_prefix*) echo another; exit 0 ;; esac\ncase')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout in a folder with a space in its name."""
    made = tmp_path / "a checkout"
    (made / "bin").mkdir(parents=True)
    return made


def put(folder: Path, **pythons: str) -> None:
    for name, text in pythons.items():
        path = folder / "bin" / name.replace("_", ".")
        path.write_text(text)
        path.chmod(0o755)


def made(folder: Path, *named: str) -> tuple[int, str, list[str]]:
    """The status, what was said, and which Pythons made an environment."""
    log = folder / "made.log"
    log.unlink(missing_ok=True)
    run = subprocess.run(
        ["/bin/sh", str(SCRIPT), ".venv", "3.11", "PYTHON", *named],
        env={"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "HOME": str(folder), "PYENV_ROOT": str(folder / "pyenv")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    makers = [Path(line).name for line in log.read_text().splitlines()] if log.exists() else []
    return run.returncode, run.stderr, makers


def test_names_on_the_path_that_do_not_run_or_are_too_old_are_passed_over(folder: Path) -> None:
    put(folder, python3_13=NOT_RUNNING, python3_12=OLD, python3_11=WITHOUT_VENV, python3_14=NOT_RUNNING, python3=PYTHON)
    assert made(folder) == (0, "", ["python3"])


def test_an_environment_that_is_whole_is_left_alone(folder: Path) -> None:
    put(folder, python3_13=PYTHON)
    assert made(folder) == (0, "", ["python3.13"])
    assert made(folder) == (0, "", [])
    assert made(folder, "python3.13") == (0, "", [])


@pytest.mark.parametrize("trouble", ["broken off", "moved", "its Python is gone", "made by hand"])
def test_an_environment_that_is_not_whole_is_made_anew(folder: Path, trouble: str) -> None:
    put(folder, python3_13=PYTHON, python3_12=PYTHON)
    made(folder)
    stale = folder / ".venv" / "stale"
    stale.touch()
    if trouble == "broken off":
        (folder / ".venv" / ".made").unlink()
    elif trouble == "moved":
        folder = folder.rename(folder.with_name("another checkout"))
        put(folder, python3_13=PYTHON)
        (folder / ".venv" / "bin" / "python").unlink()
        (folder / ".venv" / "bin" / "python").symlink_to(folder / "bin" / "python3.13")
    elif trouble == "its Python is gone":
        (folder / "bin" / "python3.13").unlink()
    else:
        (folder / ".venv" / ".made").write_text("")
    status, said, makers = made(folder)
    assert (status, said, len(makers)) == (0, "", 1)
    assert not (folder / ".venv" / "stale").exists()


def test_another_python_that_is_named_makes_it_anew(folder: Path) -> None:
    put(folder, python3_13=PYTHON, another=ANOTHER)
    made(folder)
    assert made(folder, "another") == (0, "", ["another"])
    assert made(folder, "another") == (0, "", [])


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("nowhere", "PYTHON=nowhere does not run"),
        ("broken", "PYTHON=broken does not run"),
        ("old", "PYTHON=old is older than Python 3.11"),
        ("bare", "the module venv of bare (Debian has it in python3-venv)"),
    ],
)
def test_a_python_that_is_named_and_will_not_do_is_told_and_no_other_taken(
    folder: Path, named: str, words: str
) -> None:
    put(folder, python3_13=PYTHON, broken=NOT_RUNNING, old=OLD, bare=WITHOUT_VENV)
    status, said, makers = made(folder, named)
    assert (status, makers) == (1, [])
    assert said.startswith("missing: ")
    assert words in said


def test_pyenv_is_looked_into_where_no_name_will_do(folder: Path) -> None:
    hide = dict.fromkeys(("python3_13", "python3_12", "python3_11", "python3_14", "python3", "python"), NOT_RUNNING)
    put(folder, **hide)
    status, said, _ = made(folder)
    assert (status, said.count("PYTHON=...")) == (1, 1)
    inside = folder / "pyenv" / "versions" / "3.12.1" / "bin"
    inside.mkdir(parents=True)
    (inside / "python").write_text(PYTHON)
    (inside / "python").chmod(0o755)
    assert made(folder) == (0, "", ["python"])
