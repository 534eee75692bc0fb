"""What each stand-in dataset shows: classes, kinds, defects, sizes, difficulty and counts."""

from dataclasses import dataclass

NORMAL = "normal"


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


def _plain(name: str, kind: str, *defects: str) -> ClassRecipe:
    return ClassRecipe(name, kind, tuple((defect, defect) for defect in defects))


_HEADS = ((160, 134), (150, 150), (176, 152), (144, 124))
_WIDE = ((120, 160), (132, 176), (144, 160))

RECIPES: dict[str, Recipe] = {
    "mvtec": Recipe(
        classes=(
            ClassRecipe(
                "bottle",
                "bottle",
                (("broken_large", "crack"), ("broken_small", "hole"), ("contamination", "stain")),
            ),
            ClassRecipe(
                "cable",
                "cable",
                (
                    ("cable_swap", "swapped_part"),
                    ("missing_cable", "missing_part"),
                    ("poke_insulation", "hole"),
                ),
            ),
            ClassRecipe("carpet", "woven", (("color", "stain"), ("cut", "scratch"), ("hole", "hole"))),
            ClassRecipe("leather", "leather", (("color", "stain"), ("cut", "crack"), ("poke", "hole"))),
        ),
        sizes=((144, 144),),
        strength=(0.8, 1.0),
    ),
    "visa": Recipe(
        classes=(
            _plain("candle", "candles", "crack", "stain", "hole"),
            _plain("capsules", "capsules", "scratch", "stain", "swapped_part"),
            _plain("macaroni1", "macaroni", "stain", "hole", "swapped_part"),
            _plain("pcb1", "pcb", "scratch", "missing_part", "bent", "stain"),
        ),
        sizes=((128, 160),),
        strength=(0.6, 1.0),
    ),
    "mpdd": Recipe(
        classes=(
            ClassRecipe("bracket_black", "bracket", (("hole", "missing_part"), ("scratches", "scratch"))),
            ClassRecipe("metal_plate", "brushed", (("major_rust", "stain"), ("scratches", "scratch"))),
            ClassRecipe(
                "tubes",
                "tubes",
                (("anomalous", "missing_part"), ("anomalous", "bent"), ("anomalous", "stain")),
            ),
        ),
        sizes=((136, 136),),
        strength=(0.55, 0.95),
        wear=1.2,
    ),
    "btad": Recipe(
        classes=(
            _plain("01", "flange", "scratch", "missing_part", "stain"),
            _plain("02", "wood", "scratch", "crack", "hole"),
            _plain("03", "bracket", "scratch", "swapped_part", "stain"),
        ),
        sizes=((128, 128),),
        strength=(0.6, 1.0),
    ),
    "ksdd": Recipe(
        classes=(_plain("electrical commutators", "cloudy", "crack"),),
        sizes=((320, 128),),
        strength=(0.4, 0.8),
        wear=1.2,
        grey=True,
        anomalous=18,
    ),
    "dagm": Recipe(
        classes=(
            _plain("Class1", "cloudy", "scratch", "stain"),
            _plain("Class4", "marbled", "crack", "hole"),
            _plain("Class8", "leather", "scratch", "hole"),
            _plain("Class10", "woven", "bent", "stain"),
        ),
        sizes=((128, 128),),
        strength=(0.65, 1.0),
        grey=True,
    ),
    "dtd_synthetic": Recipe(
        classes=(
            _plain("Marbled_078", "marbled", "scratch", "stain", "hole"),
            _plain("Mesh_114", "grid", "bent", "crack", "stain"),
            _plain("Perforated_037", "perforated", "scratch", "bent", "stain"),
            _plain("Woven_001", "woven", "hole", "bent", "crack"),
        ),
        sizes=((128, 128),),
        strength=(0.8, 1.0),
    ),
    "headct": Recipe(
        classes=(_plain("brain", "head_ct", "bleed"),),
        sizes=_HEADS,
        strength=(0.5, 1.0),
        grey=True,
        normal=20,
        anomalous=20,
    ),
    "brainmri": Recipe(
        classes=(_plain("brain", "head_mri", "tumour"),),
        sizes=_HEADS,
        strength=(0.6, 1.0),
        grey=True,
        normal=20,
        anomalous=20,
    ),
    "br35h": Recipe(
        classes=(_plain("brain", "head_mri", "tumour"),),
        sizes=_HEADS,
        strength=(0.8, 1.0),
        wear=0.8,
        grey=True,
        normal=20,
        anomalous=20,
    ),
    "isic": Recipe(
        classes=(_plain("skin", "skin", "mole"),),
        sizes=(*_WIDE, (144, 192)),
        strength=(0.5, 1.0),
        normal=0,
        anomalous=24,
    ),
    "cvc_colondb": Recipe(
        classes=(_plain("colon", "colon", "polyp"),),
        sizes=((125, 144),),
        strength=(0.4, 0.9),
        wear=1.2,
        normal=0,
        anomalous=24,
    ),
    "cvc_clinicdb": Recipe(
        classes=(_plain("colon", "colon", "polyp"),),
        sizes=((120, 160),),
        strength=(0.7, 1.0),
        normal=0,
        anomalous=24,
    ),
    "tn3k": Recipe(
        classes=(_plain("thyroid", "thyroid", "nodule"),),
        sizes=_WIDE,
        strength=(0.6, 1.0),
        grey=True,
        normal=0,
        anomalous=24,
    ),
}
