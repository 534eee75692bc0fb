"""Datasets beyond the paper's fourteen that other papers report.

"Listed" counts are from published file lists, "counted" ones from files, "inferred" ones from arithmetic;
what is open stands as open in `notes` and as None in the counts, and nothing is compared with it.
"""

from datasets.catalog.facts import BOTH, FIGSHARE, KAGGLE, OPEN, classes, one
from datasets.entry import Archive, Dataset, Part, Protocol, Raw

_BMAD = Archive(
    "bmad.zip",
    "https://huggingface.co/datasets/code-dev05/BMAD/resolve/main/bmad.zip",
    "df655def31f3f638a91c567550de54d6e45a74b2368f666c13a6a3052c063165",
)
_BMAD_LICENCE = (
    "CC BY-NC-SA 4.0 (third party; no text in its repository, and the sources have their own terms)"
)
_BMAD_HOME = "https://github.com/DorisBao/BMAD"
_BMAD_GET = "Download bmad.zip, or the Google Drive folder 1AC-wWZl_K18CWL2eIxUScoSOoxT4IBuw by hand."
_BMAD_NOTES = "Counts are listed. Mask values are unchecked. Prompt names are AA-CLIP's in lower case."
_BMAD_PARTS = (
    Part("good", 0, ("test/good/img",)),
    Part("Ungood", 1, ("test/Ungood/img",), ("test/Ungood/label", "test/Ungood/anomaly_mask")),
    Part("good", 0, ("train/good/img", "train/good"), split="train"),
)
_AD2_PARTS = (
    Part("good", 0, ("test_public/good",)),
    Part("bad", 1, ("test_public/bad",), ("test_public/ground_truth/bad",)),
    Part("good", 0, ("train/good",), split="train"),
)
_COVID_PARTS = (
    Part("NORMAL", 0, ("NORMAL/images", "NORMAL")),
    Part("COVID-19", 1, ("COVID-19/images", "COVID-19", "COVID/images", "COVID")),
)
_MTD_PARTS = tuple(
    Part(kind, int(kind != "Free"), (f"MT_{kind}/Imgs",), (f"MT_{kind}/Imgs",))
    for kind in ("Free", "Blowhole", "Break", "Crack", "Fray", "Uneven")
)
_LOCO = {
    "breakfast_box": (102, 83, 90),
    "juice_bottle": (94, 142, 94),
    "pushpins": (138, 91, 81),
    "screw_bag": (122, 137, 82),
    "splicing_connectors": (119, 108, 85),
}
"""Normal, logical, structural."""
_POLYPS = "also frames of colon polyps; no shared image is known, and none was looked for"
_REALIAD = (
    "audiojack", "bottle_cap", "button_battery", "end_cap", "eraser", "fire_hood", "mint", "mounts", "pcb",
    "phone_battery", "plastic_nut", "plastic_plug", "porcelain_doll", "regulator", "rolled_strip_base",
    "sim_card_set", "switch", "tape", "terminalblock", "toothbrush", "toy", "toy_brick", "transistor1",
    "u_block", "usb", "usb_adaptor", "vcpill", "wooden_beads", "woodstick", "zipper",
)  # fmt: skip
_UNKNOWN = dict.fromkeys(_REALIAD, (None, None))

MORE = (
    Dataset(
        key="ksdd2",
        title="KSDD2",
        aliases=("KolektorSDD2", "SDD2"),
        domain="industrial",
        levels=BOTH,
        classes=one("surface", "surface", 894, 110, ("Metal", "KSDD2", "KolektorSDD2")),
        folders=("ksdd2", "KolektorSDD2"),
        raw=Raw("ksdd2", ("KolektorSDD2",)),
        licence="CC BY-NC-SA 4.0",
        homepage="https://www.vicos.si/resources/kolektorsdd2/",
        archives=(Archive("KolektorSDD2.zip", "https://data.vicos.si/datasets/KSDD/KolektorSDD2.zip"),),
        how_to_get="Download KolektorSDD2.zip.",
        protocols=(
            Protocol("test", "the official test split, whole images (listed)", {"surface": (894, 110)}),
            Protocol(
                "crops",
                "Bayes-PFL: random crops of 356 defects of both splits and as many normal ones; the draw "
                "cannot be repeated, so only its authors' tree is read",
                {"surface": (356, 356)},
                by_prepare=False,
            ),
        ),
        notes="Normal is what has an all-zero mask. The prompt name is that of the code of MVTec-AD-ZS's "
        "authors.",
    ),
    Dataset(
        key="mvtec_loco",
        title="MVTec LOCO",
        aliases=("MVTec LOCO AD", "mvtec_loco_anomaly_detection", "LOCO"),
        domain="industrial",
        levels=BOTH,
        classes=classes(**{name: (counts[0], sum(counts[1:])) for name, counts in _LOCO.items()}),
        folders=("mvtec_loco", "mvtec_loco_anomaly_detection"),
        raw=Raw("mvtec", ("mvtec_loco_anomaly_detection",)),
        licence="CC BY-NC-SA 4.0",
        homepage="https://www.mvtec.com/research-teaching/datasets/mvtec-loco-ad/downloads",
        archives=(
            Archive(
                "mvtec_loco_anomaly_detection.tar.xz",
                "https://www.mydrive.ch/shares/48237/1b9106ccdfbb09a0c414bd49fe44a14a/download/"
                "430647091-1646842701/mvtec_loco_anomaly_detection.tar.xz",
                "9e7c84dba550fd2e59d8e9e231c929c45ba737b6b6a6d3814100f54d63aae687",
            ),
        ),
        how_to_get="Download mvtec_loco_anomaly_detection.tar.xz.",
        protocols=tuple(
            Protocol(
                kind,
                f"normal images and {kind} anomalies alone",
                {name: (normal, parts[place]) for name, (normal, *parts) in _LOCO.items()},
                title=f"MVTec LOCO ({kind})",
            )
            for place, kind in enumerate(("logical", "structural"))
        ),
        notes="Counts are others'. The masks of an image are joined: any pixel above 0 in any of them. The "
        "official "
        "metric, sPRO with saturation, is not computed. Prompt names are ours: the folders'.",
    ),
    Dataset(
        key="mvtec_ad2",
        title="MVTec AD 2",
        aliases=("mvtec_ad_2", "AD2"),
        domain="industrial",
        levels=BOTH,
        classes=classes(
            can=(72, 90), fabric=(66, 90), fruit_jelly=(20, 60), rice=(42, 90), sheet_metal=(24, 90),
            vial=(35, 105), wallplugs=(60, 90), walnuts=(60, 90),
        ),
        folders=("mvtec_ad2", "mvtec_ad_2"),
        raw=Raw("folders", ("mvtec_ad_2",), parts=_AD2_PARTS, by_class=True),
        licence="CC BY-NC-SA 4.0",
        homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad-2",
        archives=(
            Archive(
                "mvtec_ad_2.tar.gz",
                "https://www.mydrive.ch/shares/150997/701c90d3aea6588f404936e32a674602/download/"
                "466712769-1743429042/mvtec_ad_2.tar.gz",
                "c0ded99ef32bfc8e352d52beb44515e5b292b8598cb963aadfa91ca0763505e4",
            ),
        ),
        how_to_get="Download mvtec_ad_2.tar.gz (about 30 GB).",
        notes="The public test part alone: published rankings use the private ones. Counts are others'. "
        "The images "
        "of a class are few scenes under four to seven lights, not independent. Prompt names are ours: the "
        "folders'.",
    ),
    Dataset(
        key="realiad",
        title="Real-IAD",
        aliases=("Real_IAD",),
        domain="industrial",
        levels=BOTH,
        classes=classes(**_UNKNOWN),
        folders=("realiad", "Real-IAD"),
        raw=Raw("realiad", ("Real-IAD", "realiad")),
        licence="CC BY-NC-SA 4.0",
        homepage="https://huggingface.co/datasets/REAL-IAD/Real-IAD",
        archives=(),
        how_to_get="Ask for access on the homepage; put one folder of images (realiad_1024, ...) beside "
        "realiad_jsons.",
        protocols=(
            Protocol(
                "views",
                "the official split, all five views of an object, each an image of its own (realiad_jsons)",
                _UNKNOWN,
            ),
            Protocol("single", "the official split with one view (realiad_jsons_sv)", _UNKNOWN),
        ),
        notes="Counts by class are open: nothing is compared; 114585 test images of all views in all "
        "(literature). "
        "Which size of the images is used is the folder's. Metrics are of images, not of objects.",
    ),
    Dataset(
        key="rsdd",
        title="RSDD",
        aliases=("RSDDs", "Metal15"),
        domain="industrial",
        levels=BOTH,
        classes=one("metal", "metal", 387, 387, ("Metal15", "RSDD")),
        folders=("rsdd", "RSDDs"),
        raw=Raw("mvtec", ("RSDDs", "RSDD")),
        licence=OPEN,
        homepage="https://github.com/xiaozhen228/Bayes-PFL",
        archives=(),
        how_to_get="Get the crops that Bayes-PFL's README links to (Google Drive), in MVTec layout.",
        protocols=(
            Protocol(
                "crops",
                "crops as prepared by others, of which only their trees are read; MoECLIP's has "
                "Bayes-PFL's 387 "
                "defects, but only 168 of its normal crops: say which you have, counts do not tell",
                {"metal": (387, 387)},
                by_prepare=False,
            ),
        ),
        notes="Counts are listed. The prompt name is MoECLIP's.",
    ),
    Dataset(
        key="wfdd",
        title="WFDD",
        aliases=(),
        domain="industrial",
        levels=BOTH,
        classes=classes(
            grey_cloth=(21, 59), grid_cloth=(55, 55), pink_flower=(32, 32), yellow_cloth=(95, 95)
        ),
        folders=("wfdd",),
        raw=Raw("mvtec", ("WFDD",)),
        licence=OPEN,
        homepage="https://github.com/cqylunlun/GLASS",
        archives=(),
        how_to_get="Download by hand from https://drive.google.com/file/d/1P8yfNnfoFsb0Lv-HRzkPQ2nD9qsL--Vk",
        notes="Counts are listed. How masks are called is open. Prompt names are the folders'.",
    ),
    Dataset(
        key="goodsad",
        title="GoodsAD",
        aliases=("Goods-AD",),
        domain="industrial",
        levels=BOTH,
        classes=classes(
            drink_bottle=(356, 425), drink_can=(147, 147), food_bottle=(243, 361), food_box=(146, 251),
            food_package=(253, 230), cigarette_box=(183, 246),
        ),
        folders=("goodsad",),
        raw=Raw("mvtec", ("GoodsAD",)),
        licence="open for the data (GPL-3 for its code)",
        homepage="https://github.com/jianzhang96/GoodsAD",
        archives=(),
        how_to_get="Download the six archives by hand (OneDrive or Baidu, 12.3 GB) and unpack them into "
        "one folder.",
        notes="Counts are those of the official README. Prompt names are ours: the folders'.",
    ),
    Dataset(
        key="mtd",
        title="MTD",
        aliases=("magnetic tile", "Magnetic-tile-defect-datasets", "Magnetic-Tile-Defect"),
        domain="industrial",
        levels=BOTH,
        classes=one("magnetic tile", "magnetic tile", 952, 392, ("MTD",)),
        folders=("mtd", "Magnetic-tile-defect-datasets.-master"),
        raw=Raw("folders", ("Magnetic-tile-defect-datasets.-master", "MTD"), parts=_MTD_PARTS),
        licence=OPEN,
        homepage="https://github.com/abin24/Magnetic-tile-defect-datasets.",
        archives=(),
        how_to_get="Download the repository (its name ends in a dot).",
        notes="Counted; no split: all is test. Four anomalous images have an empty mask (MT_Uneven "
        "exp3_num_45042, "
        "exp4_num_124690, exp4_num_352527, exp4_num_45057) and are kept with it. No mask is 0/255: see "
        "--mask-threshold. The prompt name is ours.",
    ),
    Dataset(
        key="kvasir",
        title="Kvasir",
        aliases=("Kvasir-SEG",),
        domain="medical",
        levels=("pixel",),
        classes=one("colon", "colon", 0, 1000, ("Kvasir",)),
        folders=("kvasir", "Kvasir-SEG"),
        raw=Raw("pairs", ("Kvasir", "Kvasir-SEG"), (("images", "masks"),)),
        licence=OPEN,
        homepage="https://datasets.simula.no/kvasir-seg/",
        archives=(
            Archive("Polyp_DataSet.zip", FIGSHARE),
            Archive("kvasir-seg.zip", "https://datasets.simula.no/downloads/kvasir-seg.zip"),
        ),
        how_to_get="Download Polyp_DataSet.zip from figshare, the copy of zero-shot papers; or the "
        "official archive.",
        notes="Listed. The official masks are JPEG, close to 0 and 255: above 0 takes in ringing; whether "
        "figshare's "
        "PNG ones are clean is open.",
        related={"cvc_colondb": _POLYPS, "cvc_clinicdb": _POLYPS},
    ),
    Dataset(
        key="endo",
        title="Endo",
        aliases=("EndoTect", "EndoTect 2020", "EndoTect_2020_Segmentation_Test_Dataset"),
        domain="medical",
        levels=("pixel",),
        classes=one("colon", "endo", 0, 200, ("polyp",)),
        folders=("endo", "EndoTect_2020_Segmentation_Test_Dataset"),
        raw=Raw(
            "pairs",
            ("EndoTect_2020_Segmentation_Test_Dataset", "test dataset"),
            (("images", "masks"), ("*", "masks")),
        ),
        licence=OPEN,
        homepage="https://endotect.com/",
        archives=(),
        how_to_get="Download by hand from https://drive.google.com/file/d/1LNpLkv5ZlEUzr_RPN5rdOHaqk0SkZa3m",
        notes="Listed. Masks are JPEG: AnomalyCLIP and AdaCLIP take what is above 0, as here; Bayes-PFL "
        "above 128.",
        related={
            "kvasir": "frames of colon polyps of the same makers (literature); no id is shared (published "
            "lists)",
            "cvc_colondb": _POLYPS,
            "cvc_clinicdb": _POLYPS,
        },
    ),
    Dataset(
        key="cvc300",
        title="CVC-300",
        aliases=("CVC300",),
        domain="medical",
        levels=("pixel",),
        classes=one("colon", "colon", 0, 60, ("CVC-300",)),
        folders=("cvc300", "CVC-300"),
        raw=Raw("pairs", ("CVC-300",), (("images", "masks"),)),
        licence=OPEN,
        homepage="https://pages.cvc.uab.es/CVC-Colon/index.php/databases/cvc-endoscenestill/",
        archives=(Archive("Polyp_DataSet.zip", FIGSHARE),),
        how_to_get="Download Polyp_DataSet.zip from figshare (article 21221579).",
        notes="Listed: the test frames 149 to 208 of the CVC-300 part of CVC-EndoSceneStill.",
        related={
            "cvc_colondb": "CVC-300 is an older form of CVC-ColonDB (literature): shared frames are "
            "likely, unchecked",
            "cvc_clinicdb": _POLYPS,
            "kvasir": _POLYPS,
            "endo": _POLYPS,
        },
    ),
    Dataset(
        key="bmad_brain",
        title="BMAD Brain",
        aliases=("Brain_AD",),
        domain="medical",
        levels=BOTH,
        classes=one("brain", "brain", 640, 3075),
        folders=("bmad_brain", "Brain_AD"),
        raw=Raw("folders", ("Brain_AD", "Brain"), parts=_BMAD_PARTS),
        licence=_BMAD_LICENCE,
        homepage=_BMAD_HOME,
        archives=(_BMAD,),
        how_to_get=_BMAD_GET,
        notes=f"From BraTS 2021. {_BMAD_NOTES} Some papers call it BrainMRI, which here is Kaggle's set.",
        related=dict.fromkeys(
            ("brainmri", "br35h"), "also MRI slices of brain tumours; whether images are shared is unchecked"
        ),
    ),
    Dataset(
        key="bmad_liver",
        title="BMAD Liver",
        aliases=("Liver_AD",),
        domain="medical",
        levels=BOTH,
        classes=one("liver", "liver", 833, 660),
        folders=("bmad_liver", "Liver_AD"),
        raw=Raw("folders", ("Liver_AD", "Liver"), parts=_BMAD_PARTS),
        licence=_BMAD_LICENCE,
        homepage=_BMAD_HOME,
        archives=(_BMAD,),
        how_to_get=_BMAD_GET,
        notes=f"From BTCV and LiTS. {_BMAD_NOTES}",
    ),
    Dataset(
        key="bmad_retina",
        title="BMAD Retina",
        aliases=("Retina_RESC_AD", "Retina_RESC", "RESC"),
        domain="medical",
        levels=BOTH,
        classes=one("retina", "retina", 1041, 764, ("retinal",)),
        folders=("bmad_retina", "Retina_RESC_AD"),
        raw=Raw("folders", ("Retina_RESC_AD", "Retina_RESC"), parts=_BMAD_PARTS),
        licence=_BMAD_LICENCE,
        homepage=_BMAD_HOME,
        archives=(_BMAD,),
        how_to_get=_BMAD_GET,
        notes=f"From RESC. {_BMAD_NOTES}",
    ),
    Dataset(
        key="covid",
        title="COVID-19",
        aliases=("COVID-19_Radiography_Dataset", "COVID-19 Radiography"),
        domain="medical",
        levels=("image",),
        classes=one("chest", "chest", 1341, 219),
        folders=("covid", "COVID-19_Radiography_Dataset"),
        raw=Raw("folders", ("COVID-19_Radiography_Dataset",), parts=_COVID_PARTS),
        licence="not verified",
        homepage=KAGGLE + "tawsifurrahman/covid19-radiography-database",
        archives=(),
        how_to_get="Kaggle's set has grown since: get its first version, or AnomalyCLIP's copy, "
        "https://drive.google.com/file/d/1ECwI8DJmhEtcVHatxCAdFqnSmXs35WFL",
        notes="Counts are inferred from the numbers of AnomalyCLIP's table and not confirmed on files: the "
        "first "
        "version, COVID-19 against NORMAL; viral pneumonia and lung opacity are left out, and so are lung "
        "masks.",
    ),
)  # fmt: skip
