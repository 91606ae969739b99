"""The picture of perplexity over the bits, from made-up reports."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from xml.etree import ElementTree

CURVE = Path(__file__).resolve().parents[2] / "bench" / "accuracy" / "curve.py"


class CurveTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.picture = self.folder / "curve.svg"

    def report(self, name, bits, perplexity, method="nanoquant"):
        folder = self.folder / name
        folder.mkdir()
        report = {"settings": {"method": method},
                  "totals": {"bits_per_weight": bits, "bits_per_weight_asked": bits, "model_bytes": int(1e8 * bits)}}
        if perplexity is not None:
            report["test"] = {"perplexity": perplexity}
        (folder / "report.json").write_text(json.dumps(report))
        return str(folder)

    def draw(self, *words):
        return subprocess.run([sys.executable, CURVE, self.picture, *words], capture_output=True, text=True)

    def texts(self):
        return [element.text for element in ElementTree.parse(self.picture).iter() if element.text and element.tag.endswith("text")]

    def test_every_model_is_a_point_of_both_panels(self):
        peers = self.folder / "peers.json"
        peers.write_text(json.dumps([{"name": "Q2_K", "bits_per_weight": 4.2, "bytes": 300000000, "perplexity": 40.5},
                                     {"name": "TQ1_0", "bits_per_weight": 3.8, "bytes": 290000000, "perplexity": 1.3e6},
                                     {"name": "IQ1_S", "failure": "refused"}]))
        runs = [self.report("a", 0.55, 300.0), self.report("b", 1.0, 112.0), self.report("c", 2.0, 48.0, "rabit")]
        done = self.draw(*runs, "--peers", str(peers), "--original", "28.8")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        texts = self.texts()
        for label in ("0.55: 300.0", "1: 112.0", "2: 48.0", "Q2_K: 40.5", "original 28.8"):
            self.assertEqual(texts.count(label), 2, label)
        self.assertIn("beyond the scale: llama.cpp TQ1_0 1.3e+06", texts)
        self.assertFalse([text for text in texts if "IQ1_S" in text])

    def test_one_model_alone_is_drawn(self):
        self.assertEqual(self.draw(self.report("a", 1.0, 112.0)).returncode, 0)
        self.assertEqual(self.texts().count("1: 112.0"), 2)

    def test_a_copy_of_a_report_is_as_good_as_its_folder(self):
        copy = self.folder / "copy.json"
        copy.write_bytes((Path(self.report("a", 1.0, 112.0)) / "report.json").read_bytes())
        self.assertEqual(self.draw(str(copy)).returncode, 0)
        self.assertEqual(self.texts().count("1: 112.0"), 2)

    def test_a_report_without_a_test_is_refused_by_its_name(self):
        done = self.draw(self.report("untested", 1.0, None))
        self.assertEqual(done.returncode, 1)
        self.assertIn("untested/report.json has no test", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertFalse(self.picture.exists())


if __name__ == "__main__":
    unittest.main()
