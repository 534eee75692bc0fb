"""The contact sheet of the stand-ins."""

from pathlib import Path

import numpy as np
from PIL import Image

from tools.contact_sheet import contact_sheet


def test_contact_sheet_outlines_defects(tmp_path: Path) -> None:
    contact_sheet(tmp_path / "sheet.png", keys=["isic", "btad"], scale="tiny")
    page = np.asarray(Image.open(tmp_path / "sheet.png"))
    magenta = (page == [255, 0, 255]).all(axis=2)
    assert magenta.sum() > 50
