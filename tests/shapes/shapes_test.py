"""The made-up models of bench/shapes as the program sees them, and the scripts that measure and predict.

    shapes_test.py LLAMA_COMPRESS
"""

import json
import math
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

shapes = Path(__file__).resolve().parents[2] / "bench" / "shapes"
sys.path.insert(0, str(shapes))
import make_model  # noqa: E402
from predict import gain_of_sharing, longest_share, predict  # noqa: E402

PROGRAM = ""
# Odd sizes: rows and columns of signs end within a tile, a head is narrower than its tile.
SMALL = make_model.Shape(width=80, heads=4, kv_heads=2, head_dim=20, inner=136, blocks=2, vocabulary=600)
SMALL_QWEN = SMALL._replace(head_dim=24, family="qwen3", tied=True)


def run(*words):
    return subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True)


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class ShapesTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.text = self.folder / "text.txt"
        self.text.write_text(" ".join(str(k * 37 % 101) for k in range(1000)))

    def make(self, name, shape=SMALL, bits=1.4, seed=0, shard_bytes=1e9):
        make_model.write_model(self.folder / name, shape, bits, shape.blocks, seed, shard_bytes)
        return self.folder / name

    def check_runs(self, folder):
        inspected = run("inspect", folder)
        self.assertEqual(inspected.returncode, 0, inspected.stderr)
        generated = run("generate", folder, "--prompt", "The", "--max-tokens", 5, "--ignore-eos", "--threads", 2)
        self.assertEqual(generated.returncode, 0, generated.stderr)
        self.assertIn("decode 5 tokens", generated.stderr)
        measured = run("perplexity", folder, "--text", self.text, "--context", 64, "--max-windows", 2, "--json")
        self.assertEqual(measured.returncode, 0, measured.stderr)
        self.assertTrue(math.isfinite(json.loads(measured.stdout)["perplexity"]), measured.stdout)

    def test_a_packed_model_of_any_size_is_one_that_the_program_reads(self):
        ranks = [make_model.rank_for(1.4, m, n) for _, m, n in make_model.linear_layers(SMALL)]
        self.assertTrue(any(r % 16 for r in ranks), ranks)
        self.check_runs(self.make("llama"))
        self.check_runs(self.make("qwen", SMALL_QWEN))

    def test_the_same_arguments_make_the_same_files_and_another_seed_others(self):
        first, again, other = self.make("a"), self.make("b"), self.make("c", seed=1)
        self.assertEqual(contents(first), contents(again))
        self.assertNotEqual(contents(first)["model.safetensors"], contents(other)["model.safetensors"])

    def test_a_dense_model_in_shards_can_be_run_and_compressed(self):
        dense = self.make("dense", bits=None, shard_bytes=1e5)
        self.assertGreater(len(list(dense.glob("model-*.safetensors"))), 2)
        self.check_runs(dense)
        out = self.folder / "out"
        result = run("compress", dense, "--text", self.text, "--out", out, "--windows", 4, "--window-tokens", 32,
                     "--iterations", 4, "--epochs", 1, "--distill-epochs", 1, "--threads", 2)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(json.loads((out / "report.json").read_text())["blocks"]), 2)
        self.check_runs(out)

    def test_weights_are_spread_so_that_outputs_are_as_large_as_inputs(self):
        values = b"".join(make_model.Numbers(0, 1 << 16).normal(10000, 0.5))
        words = memoryview(values).cast("H")
        import struct
        numbers = [struct.unpack("<f", struct.pack("<I", w << 16))[0] for w in words]
        self.assertEqual(len(numbers), 10000)
        self.assertAlmostEqual(sum(numbers) / 10000, 0, delta=0.02)
        self.assertAlmostEqual(math.sqrt(sum(x * x for x in numbers) / 10000), 0.5, delta=0.02)

    def test_published_shapes_have_their_published_weights(self):
        for name, billions in (("llama-2-7b", 6.74), ("llama-2-13b", 13.0), ("llama-2-70b", 69.0), ("llama-3-8b", 8.03),
                               ("llama-3-70b", 70.6), ("qwen3-32b", 32.8)):
            shape = make_model.SHAPES[name]
            weights = shape.blocks * sum(m * n for _, m, n in make_model.linear_layers(shape)) + 2 * shape.vocabulary * shape.width
            self.assertAlmostEqual(weights / 1e9, billions, delta=0.05, msg=name)

    def test_measure_tells_speed_memory_and_the_first_token(self):
        words = [sys.executable, shapes / "measure.py", "generate", "demo", "--program", PROGRAM, "--work", self.folder, "--tokens",
                 3, "--runs", 1, "--prompt-tokens", 20, "--buffer-gb", 0.01, "--threads", 1, "--limit-gb", 1, "--json"]
        result = subprocess.run([str(w) for w in words], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        found = json.loads(result.stdout)
        self.assertEqual(found["rows"][0]["prompt"], 20)
        self.assertGreater(found["rows"][0]["share"], 0)
        self.assertEqual([f["file"] for f in found["first_token"]], ["warm", "cold"])
        self.assertGreater(found["limited"]["decode"], 0)
        tight = subprocess.run([str(w) for w in words[:-3] + ["--limit-gb", 0.0005]], capture_output=True, text=True)
        self.assertIn("within 0.0005 GB", tight.stderr)
        self.assertNotIn("decode", tight.stderr.split("within")[1].split("ended")[0])
        self.assertEqual(list(self.folder.glob("shapes-*")), [])

    def test_measure_predicts_a_whole_compression(self):
        words = [sys.executable, shapes / "measure.py", "compress", "demo", "--program", PROGRAM, "--work", self.folder, "--windows",
                 2, "--window-tokens", 32, "--threads", 1, "--json", "--", "--iterations", 2, "--epochs", 1, "--distill-epochs", 1]
        result = subprocess.run([str(w) for w in words], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        found = json.loads(result.stdout)
        self.assertEqual(found["whole"]["windows"], 128)
        self.assertGreater(found["predicted"]["1"]["total"], found["predicted"]["8"]["total"])


def report(blocks):
    """Of a job whose blocks are all alike."""
    phases = {"factorize": 40.0, "tune": 20.0, "measure": 4.0, "pass on": 2.0, "read": 1.0, "save": 0.5}
    layers = [{"seconds": s} for s in (1.0, 1.0, 1.0, 1.0, 4.0, 4.0, 4.0)]
    return {"seconds": {"calibration": 3.0 + 6 * blocks, "distillation": 2.0 + 8 * blocks,
                        "phases": {"blocks": {name: seconds * blocks for name, seconds in phases.items()}}},
            "settings": {"method": "nanoquant", "estimator": "identity", "coupling": "coupled", "bits": 2, "windows": 4, "window-tokens": 512,
                         "iterations": 10, "refine": True, "epochs": 1, "batch": 1, "distill-epochs": 1, "distill-batch": 1},
            "totals": {"factorized_bytes": 1e6, "factorized_weights": 4e6}, "blocks": [{"layers": layers}] * blocks}


class PredictTest(unittest.TestCase):
    def test_the_same_settings_on_two_blocks_take_what_was_measured(self):
        times = predict(report(1), report(2), 2, 1, report(1)["settings"], 1e9)
        self.assertAlmostEqual(times["total"], (3 + 12) + (2 + 16) + 2 * 67.5)

    def test_times_follow_tokens_iterations_and_epochs(self):
        whole = {**report(1)["settings"], "windows": 8, "iterations": 45, "epochs": 3}
        times = predict(report(1), report(2), 10, 1, whole, 1e9)
        self.assertAlmostEqual(times["calibration"], 2 * (3 + 60))
        self.assertAlmostEqual(times["factorization"], 10 * 40 * 2)
        self.assertAlmostEqual(times["tuning"], 10 * 20 * 2 * 3)
        self.assertAlmostEqual(times["files"], 15)

    def test_machines_share_windows_and_layers_and_batches_of_more_than_one(self):
        settings = report(1)["settings"]
        alone, eight = (predict(report(1), report(2), 10, n, settings, 1e9) for n in (1, 8))
        self.assertAlmostEqual(eight["calibration"], alone["calibration"] / 8)
        self.assertAlmostEqual(eight["factorization"], alone["factorization"] / 8)  # the layers of some blocks together
        self.assertAlmostEqual(eight["tuning"], alone["tuning"])
        # Two steps, in one epoch, of 8e6 signs of low-rank layers, or of 4e6 weights of which each has two paths.
        for choices, moved in (({}, 8e6 * (2 * 4.125 + 4)), ({"estimator": "clipped"}, 8e6 * 2 * 8),
                               ({"method": "rabit"}, 4e6 * 2 * 8), ({"method": "rabit", "coupling": "independent"}, 4e6 * 2 * 12)):
            batch = predict(report(1), report(2), 10, 8, {**settings, **choices, "batch": 2}, 1e9)
            self.assertAlmostEqual(batch["tuning"], alone["tuning"] / 2 + 10 * moved / 1e9)

    def test_the_longest_share(self):
        self.assertEqual(longest_share([4, 4, 4, 1, 1, 1, 1], 3), 6)
        self.assertEqual(longest_share([4, 3], 1), 7)

    def test_layers_of_several_blocks_are_shared_out_more_evenly(self):
        self.assertEqual(gain_of_sharing([4, 4, 4, 1, 1, 1, 1], 1), 1)
        self.assertEqual(gain_of_sharing([4, 4, 4, 1, 1, 1, 1], 2), 2)
        self.assertEqual(gain_of_sharing([4, 4, 4], 2), 2)
        self.assertEqual(gain_of_sharing([4, 4, 4], 8), 8)


if __name__ == "__main__":
    PROGRAM = str(Path(sys.argv.pop(1)).resolve())
    unittest.main()
