"""Turn a dataset as downloaded (folder or archive) into a folder with meta.json below the data root.

examples:
  run_bench.py prepare mvtec --from ~/Downloads/mvtec_anomaly_detection.tar.xz
  run_bench.py prepare ksdd --from KolektorSDD.zip --protocol whole
  run_bench.py prepare ksdd:whole --from KolektorSDD.zip
  run_bench.py prepare cvc_clinicdb --from Polyp_DataSet/CVC-ClinicDB --data-root /data/zsad
"""

import argparse
from pathlib import Path

from bench.cli.common import add_roots, dataset_keys
from bench.errors import BenchError
from datasets.catalog import CATALOG
from datasets.check import check
from datasets.meta import open_dataset
from datasets.prepare import prepare


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("dataset", metavar="KEY[:PROTOCOL]", help=f"one of {' '.join(CATALOG)}")
    parser.add_argument(
        "--from", dest="raw", type=Path, required=True, metavar="RAW", help="folder or archive"
    )
    parser.add_argument("--protocol", help="for datasets with several (ksdd, dagm); default: the catalog's")
    add_roots(parser, "data")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    keys = dataset_keys([parsed.dataset])
    if len(keys) > 1:
        raise BenchError(
            f"prepare {parsed.dataset}: a group; prepare its datasets one by one ({' '.join(keys)})"
        )
    key, _, named = keys[0].partition(":")
    if named and parsed.protocol not in (None, named):
        raise BenchError(f"prepare {parsed.dataset} --protocol {parsed.protocol}: name one protocol")
    folder = prepare(key, parsed.raw, parsed.data_root, protocol=named or parsed.protocol)
    print(f"wrote {folder}")
    print(check(open_dataset(folder), deep=False))
    return 0
