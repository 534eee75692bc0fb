"""What each stand-in dataset shows: classes, kinds, defects, sizes, difficulty and counts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClassRecipe:
    """One class: its name in the real dataset, the kind that draws it, pairs (defect folder, defect kind).

    Where the real dataset names no defects on disk, the folder names are ours and leave no trace.
    """

    name: str
    kind: str
    defects: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Recipe:
    """One dataset.

    `sizes` are (height, width) in pixels, taken by turns; `strength` is the range of the defects'
    strength in 0..1, which sets the difficulty together with `wear`, the camera's variation. `normal` and
    `anomalous` are the numbers of test pictures per class at demo scale.
    """

    classes: tuple[ClassRecipe, ...]
    sizes: tuple[tuple[int, int], ...]
    strength: tuple[float, float]
    wear: float = 1.0
    grey: bool = False
    normal: int = 14
    anomalous: int = 14


def _of(name: str, kind: str, *defects: str) -> ClassRecipe:
    """Return a class; a defect is given as its kind, or as "folder: kind" where it has a folder's name."""
    return ClassRecipe(name, kind, tuple((d.split(": ")[0], d.split(": ")[-1]) for d in defects))


_HEADS = ((160, 134), (150, 150), (176, 152), (144, 124))
_WIDE = ((120, 160), (132, 176), (144, 160))
_CT = (_of("brain", "head_ct", "bleed"),)
_BRAIN = (_of("brain", "head_mri", "tumour"),)
_COLON = (_of("colon", "colon", "polyp"),)
_THYROID = (_of("thyroid", "thyroid", "nodule"),)

RECIPES: dict[str, Recipe] = {
    "mvtec": Recipe(
        (
            _of("bottle", "bottle", "broken_large: crack", "broken_small: hole", "contamination: stain"),
            _of(
                "cable",
                "cable",
                "cable_swap: swapped_part",
                "missing_cable: missing_part",
                "poke_insulation: hole",
            ),
            _of("carpet", "woven", "color: stain", "cut: scratch", "hole"),
            _of("leather", "leather", "color: stain", "cut: crack", "poke: hole"),
        ),
        ((144, 144),),
        (0.8, 1.0),
    ),
    "visa": Recipe(
        (
            _of("candle", "candles", "crack", "stain", "hole"),
            _of("capsules", "capsules", "scratch", "stain", "swapped_part"),
            _of("macaroni1", "macaroni", "stain", "hole", "swapped_part"),
            _of("pcb1", "pcb", "scratch", "missing_part", "bent", "stain"),
        ),
        ((128, 160),),
        (0.6, 1.0),
    ),
    "mpdd": Recipe(
        (
            _of("bracket_black", "bracket", "hole: missing_part", "scratches: scratch"),
            _of("metal_plate", "brushed", "major_rust: stain", "scratches: scratch"),
            _of("tubes", "tubes", "anomalous: missing_part", "anomalous: bent", "anomalous: stain"),
        ),
        ((136, 136),),
        (0.55, 0.95),
        wear=1.2,
    ),
    "btad": Recipe(
        (
            _of("01", "flange", "scratch", "missing_part", "stain"),
            _of("02", "wood", "scratch", "crack", "hole"),
            _of("03", "bracket", "scratch", "swapped_part", "stain"),
        ),
        ((128, 128),),
        (0.6, 1.0),
    ),
    "ksdd": Recipe(
        (_of("electrical commutators", "cloudy", "crack"),),
        ((320, 128),),
        (0.4, 0.8),
        1.2,
        True,
        anomalous=18,
    ),
    "dagm": Recipe(
        (
            _of("Class1", "cloudy", "scratch", "stain"),
            _of("Class4", "marbled", "crack", "hole"),
            _of("Class8", "leather", "scratch", "hole"),
            _of("Class10", "woven", "bent", "stain"),
        ),
        ((128, 128),),
        (0.65, 1.0),
        grey=True,
    ),
    "dtd_synthetic": Recipe(
        (
            _of("Marbled_078", "marbled", "scratch", "stain", "hole"),
            _of("Mesh_114", "grid", "bent", "crack", "stain"),
            _of("Perforated_037", "perforated", "scratch", "bent", "stain"),
            _of("Woven_001", "woven", "hole", "bent", "crack"),
        ),
        ((128, 128),),
        (0.8, 1.0),
    ),
    "headct": Recipe(_CT, _HEADS, (0.5, 1.0), grey=True, normal=20, anomalous=20),
    "brainmri": Recipe(_BRAIN, _HEADS, (0.6, 1.0), grey=True, normal=20, anomalous=20),
    "br35h": Recipe(_BRAIN, _HEADS, (0.8, 1.0), 0.8, grey=True, normal=20, anomalous=20),
    "isic": Recipe((_of("skin", "skin", "mole"),), (*_WIDE, (144, 192)), (0.5, 1.0), normal=0, anomalous=24),
    "cvc_colondb": Recipe(_COLON, ((125, 144),), (0.4, 0.9), 1.2, normal=0, anomalous=24),
    "cvc_clinicdb": Recipe(_COLON, ((120, 160),), (0.7, 1.0), normal=0, anomalous=24),
    "tn3k": Recipe(_THYROID, _WIDE, (0.6, 1.0), grey=True, normal=0, anomalous=24),
}
