#!/bin/sh
# venv.sh FOLDER OLDEST VARIABLE [PYTHON]: see to it that FOLDER is a whole virtual environment of a Python that will do.
#
# It is made of PYTHON if one is named, else of the first of the usual names that is OLDEST or later, has venv and runs
# (pyenv puts names on the path that do not); pyenv's own folders are looked into last. A folder that is whole is left
# alone. It is made anew where the making was broken off, the checkout has moved, its Python is gone or too old, or
# another one is named. VARIABLE is how the user names one to make.
set -eu

folder=$1 oldest=$2 variable=$3 named=${4:-}
here=$(pwd -P)

runs() { "$1" -c '' 2>/dev/null; }
is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < tuple(map(int, sys.argv[1].split("."))))' "$oldest" 2>/dev/null
}
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
identity() { "$1" -c 'import sys; print(sys.base_prefix, sys.version)' 2>/dev/null; }

is_whole() {
    [ "$(cat "$folder/.made" 2>/dev/null)" = "$here" ] || return 1
    is_new_enough "$folder/bin/python" || return 1
    [ -z "$named" ] || [ "$(identity "$named")" = "$(identity "$folder/bin/python")" ]
}

missing() {
    echo "missing: $1" >&2
    exit 1
}

if is_whole; then exit 0; fi

if [ -n "$named" ]; then
    runs "$named" || missing "$variable=$named does not run; name another Python $oldest or later"
    is_new_enough "$named" || missing "$variable=$named is older than Python $oldest; name another"
    set -- "$named"
else
    set -- python3.13 python3.12 python3.11 python3.14 python3 python \
        "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/*/bin/python
fi

without_venv=
for python; do
    if is_new_enough "$python"; then
        if has_venv "$python"; then
            rm -rf "$folder"
            "$python" -m venv "$folder" || missing "a virtual environment: $python -m venv $folder failed, see above"
            printf '%s\n' "$here" > "$folder/.made"
            exit 0
        fi
        without_venv=${without_venv:-$python}
    fi
done
if [ -n "$without_venv" ]; then
    missing "the module venv of $without_venv (Debian has it in python3-venv); or name another Python with $variable=..."
fi
missing "Python $oldest or later (looked for python3.11 to python3.14, python3, python, and where pyenv has them). Install
         one, or name it with $variable=..."
