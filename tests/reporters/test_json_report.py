import json
import subprocess
import sys

from isograd.records import Diagnosis
from isograd.records.finding import WRITERS
from isograd.reporters import json_report
from reporters.samples import SAMPLES


def test_json_is_strict_and_reads_back(diagnosis):
    text = json_report.dumps(diagnosis)

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    data = json.loads(text, parse_constant=refuse)
    assert data["verdict"] == diagnosis.verdict
    assert json_report.dumps(Diagnosis.from_dict(data)) == text


def test_reporters_register_themselves():
    assert {"text", "html", "notebook", "json"} <= set(WRITERS)
    d = SAMPLES["chinese"]()
    assert "编码层" in WRITERS["json"](d)
    assert str(d) == WRITERS["text"](d)


def test_import_needs_neither_torch_nor_rich():
    heavy = "{'torch', 'rich', 'numpy'} & set(sys.modules)"
    code = f"import isograd.reporters, sys; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
