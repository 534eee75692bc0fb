"""The fourteen datasets of the paper's table, in its order."""

from datasets.catalog.facts import BOTH, FIGSHARE, KAGGLE, classes, one
from datasets.entry import Archive, Dataset, Part, Protocol, Raw

_DAGM = tuple(f"Class{number}" for number in range(1, 11))
_KSDD = "electrical commutators"
_REDRAWN = (
    "some masks were redrawn and are had from their authors by mail alone (github.com/wgp1113/"
    "reflection-upon-zsad); their folder is read where it stands under this name"
)
_YES_NO = (Part("no", 0, ("no",)), Part("yes", 1, ("yes",)))

FOURTEEN = (
    Dataset(
        key="mvtec",
        title="MVTec",
        aliases=("MVTec AD", "MVTec-AD", "mvtec_anomaly_detection", "mvdataset"),
        domain="industrial",
        levels=BOTH,
        classes=classes(
            bottle=(20, 63), cable=(58, 92), capsule=(23, 109), carpet=(28, 89), grid=(21, 57),
            hazelnut=(40, 70), leather=(32, 92), metal_nut=(22, 93), pill=(26, 141), screw=(41, 119),
            tile=(33, 84), toothbrush=(12, 30), transistor=(60, 40), wood=(19, 60), zipper=(32, 119),
        ),
        folders=("mvtec", "mvtec_anomaly_detection"),
        raw=Raw("mvtec", ("mvtec_anomaly_detection", "mvtec")),
        licence="CC BY-NC-SA 4.0",
        homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        archives=(
            Archive(
                "mvtec_anomaly_detection.tar.xz",
                "https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/download/"
                "420938113-1629960298/mvtec_anomaly_detection.tar.xz",
                "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
            ),
        ),
        how_to_get="Download mvtec_anomaly_detection.tar.xz from the homepage (form) or the address above.",
        protocols=(
            Protocol(
                "zs",
                "MVTec-AD-ZS: without the test images that cannot be judged without a reference (listed)",
                {
                    "cable": (51, 69), "capsule": (23, 93), "carpet": (28, 88), "grid": (21, 54),
                    "hazelnut": (34, 69), "leather": (32, 92), "screw": (41, 119), "tile": (33, 84),
                    "toothbrush": (12, 30), "transistor": (56, 30), "wood": (19, 60), "zipper": (32, 118),
                },
                title="MVTec (ZS)",
                no_masks=_REDRAWN,
            ),
        ),
    ),
    Dataset(
        key="visa",
        title="VisA",
        aliases=("VisA_20220922", "VisA_pytorch"),
        domain="industrial",
        levels=BOTH,
        classes=classes(
            candle=(100, 100), capsules=(60, 100), cashew=(50, 100), chewinggum=(50, 100), fryum=(50, 100),
            macaroni1=(100, 100), macaroni2=(100, 100), pcb1=(100, 100), pcb2=(100, 100), pcb3=(101, 100),
            pcb4=(101, 100), pipe_fryum=(50, 100),
        ),
        folders=("visa", "VisA_20220922"),
        raw=Raw("visa", ("VisA_20220922", "VisA", "visa")),
        licence="CC BY 4.0 (official README and LICENSE-DATASET)",
        homepage="https://github.com/amazon-science/spot-diff",
        archives=(
            Archive(
                "VisA_20220922.tar",
                "https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
                "2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
            ),
        ),
        how_to_get="Download VisA_20220922.tar.",
        protocols=(
            Protocol(
                "zs",
                "VisA-ZS: without the test images that cannot be judged without a reference (listed)",
                {
                    "candle": (82, 84), "capsules": (60, 93), "cashew": (50, 87), "chewinggum": (45, 91),
                    "fryum": (50, 73), "macaroni1": (93, 100), "macaroni2": (84, 100), "pcb1": (89, 80),
                    "pcb2": (80, 79), "pcb3": (101, 71), "pipe_fryum": (49, 83),
                },
                title="VisA (ZS)",
                no_masks=_REDRAWN,
            ),
        ),
    ),
    Dataset(
        key="mpdd",
        title="MPDD",
        aliases=(),
        domain="industrial",
        levels=BOTH,
        classes=classes(
            bracket_black=(32, 47), bracket_brown=(26, 51), bracket_white=(30, 30), connector=(30, 14),
            metal_plate=(26, 71), tubes=(32, 69),
        ),
        folders=("mpdd",),
        raw=Raw("mvtec", ("MPDD", "mpdd")),
        licence="CC BY-NC-SA 4.0",
        homepage="https://github.com/stepanje/MPDD",
        archives=(),
        how_to_get="Follow the OneDrive link on the homepage by hand; there is no stable address.",
    ),
    Dataset(
        key="btad",
        title="BTAD",
        aliases=("BTech", "BTech_Dataset_transformed", "BTech_Dataset"),
        domain="industrial",
        levels=BOTH,
        classes=classes(_01=(21, 49), _02=(30, 200), _03=(400, 41)),
        folders=("btad", "BTech_Dataset_transformed"),
        raw=Raw("mvtec", ("BTech_Dataset_transformed", "btad")),
        licence="unclear (third parties say CC BY-NC-SA 4.0 or CC BY-SA); treat as not redistributable",
        homepage="https://avires.dimi.uniud.it/papers/btad/",
        archives=(
            Archive(
                "btad.zip",
                "https://avires.dimi.uniud.it/papers/btad/btad.zip",
                "461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
            ),
        ),
        how_to_get="Download btad.zip.",
    ),
    Dataset(
        key="ksdd",
        title="KSDD",
        aliases=("SDD", "KolektorSDD", "SDD_anomaly_detection"),
        domain="industrial",
        levels=BOTH,
        classes=one(_KSDD, "SDD", 286, 54),
        folders=("ksdd", "sdd", "SDD_anomaly_detection", "KSDD"),
        raw=Raw("ksdd", ("KolektorSDD",)),
        licence="CC BY-NC-SA 4.0",
        homepage="https://www.vicos.si/resources/kolektorsdd/",
        archives=(
            Archive(
                "KolektorSDD.zip",
                "https://data.vicos.si/datasets/KSDD/KolektorSDD.zip",
                "65dc621693418585de9c4467d1340ea7958a6181816f0dc2883a1e8b61f9d4dc",
            ),
        ),
        how_to_get="Download KolektorSDD.zip with the fine annotations (not the box-shaped ones).",
        protocols=(
            Protocol(
                "thirds",
                "AdaCLIP: three strips per image, a quarter of the normal ones; the draw is fixed here "
                "(sorted names, seed 42), the original one cannot be repeated",
                {_KSDD: (286, 54)},
            ),
            Protocol("whole", "whole images, all of them", {_KSDD: (347, 52)}),
            Protocol(
                "halves",
                "AnomalyCLIP: two strips per image with coarser labels; not documented, so only a tree "
                "prepared by its authors is read",
                {_KSDD: (181, 74)},
                by_prepare=False,
            ),
        ),
    ),
    Dataset(
        key="dagm",
        title="DAGM",
        aliases=("DAGM 2007", "DAGM_anomaly_detection", "DAGM_KaggleUpload"),
        domain="industrial",
        levels=BOTH,
        classes=classes(**(dict.fromkeys(_DAGM, (None, None)) | {"Class4": (507, 68)})),
        folders=("dagm", "DAGM_anomaly_detection", "DAGM_KaggleUpload", "DAGM2007"),
        raw=Raw("dagm", ("DAGM_KaggleUpload", "DAGM2007", "DAGM")),
        licence="no text confirmed",
        homepage="https://hci.iwr.uni-heidelberg.de/content/"
        "weakly-supervised-learning-industrial-optical-inspection",
        archives=(),
        how_to_get=f"Download from {KAGGLE}mhskjelvareid/dagm-2007-competition-dataset-optical-inspection "
        "(account needed); copies lie in Zenodo records 8086136 and 12750201.",
        protocols=(
            Protocol(
                "test",
                "AnomalyCLIP: the Test split as it is; the total is from the literature",
                dict.fromkeys(_DAGM, (None, None)) | {"Class4": (507, 68)},
                total=(6996, 1054),
            ),
            Protocol(
                "balanced",
                "AdaCLIP: both splits pooled, all defects and as many normal images (the first ones by "
                "name here; the original took an unsorted listing)",
                {name: (150, 150) if number < 6 else (300, 300) for number, name in enumerate(_DAGM)},
            ),
        ),
    ),
    Dataset(
        key="dtd_synthetic",
        title="DTD",
        aliases=("DTD-Synthetic",),
        domain="industrial",
        levels=BOTH,
        classes=classes(
            Blotchy_099=(20, 80), Fibrous_183=(20, 80), Marbled_078=(20, 80), Matted_069=(20, 79),
            Mesh_114=(36, 80), Perforated_037=(20, 80), Stratified_154=(20, 80), Woven_001=(30, 70),
            Woven_068=(51, 79), Woven_104=(20, 80), Woven_125=(20, 79), Woven_127=(80, 80),
        ),
        folders=("dtd_synthetic", "dtd", "DTD-Synthetic"),
        raw=Raw("mvtec", ("DTD-Synthetic",)),
        licence="not stated; built from the DTD textures",
        homepage="https://drive.google.com/drive/folders/10OyPzvI3H6llCZBxKxFlKWt1Pw1tkMK1",
        archives=(),
        how_to_get="Download the Google Drive folder by hand (Aota, Tong, Okatani, WACV 2023).",
    ),
    Dataset(
        key="headct",
        title="HeadCT",
        aliases=("head_ct", "HeadCT_anomaly_detection"),
        domain="medical",
        levels=("image",),
        classes=one("brain", "headct", 100, 100),
        folders=("headct", "HeadCT_anomaly_detection"),
        raw=Raw("headct", ("head_ct",)),
        licence="not verified",
        homepage=KAGGLE + "felipekitamura/head-ct-hemorrhage",
        archives=(),
        how_to_get="Download from Kaggle (account needed).",
    ),
    Dataset(
        key="brainmri",
        title="BrainMRI",
        aliases=("brain_mri", "brain_tumor_dataset"),
        domain="medical",
        levels=("image",),
        classes=one("brain", "brain_mri", 98, 155),
        folders=("brainmri", "BrainMRI", "brain_mri"),
        raw=Raw("folders", ("BrainMRI", "brain_tumor_dataset", "archive"), parts=_YES_NO),
        licence="not verified",
        homepage=KAGGLE + "navoneel/brain-mri-images-for-brain-tumor-detection",
        archives=(),
        how_to_get="Download from Kaggle (account needed).",
        related={
            "br35h": "140 of BrainMRI's 141 distinct tumour images and 61 of its 87 others are in Br35H, "
            "byte for byte (counted)"
        },
    ),
    Dataset(
        key="br35h",
        title="Br35H",
        aliases=("Br35h_anomaly_detection", "br35"),
        domain="medical",
        levels=("image",),
        classes=one("brain", "br35h", 1500, 1500),
        folders=("br35h", "Br35h_anomaly_detection"),
        raw=Raw("folders", ("Br35H", "br35h", "archive"), parts=_YES_NO),
        licence="not verified",
        homepage=KAGGLE + "ahmedhamada0/brain-tumor-detection",
        archives=(),
        how_to_get="Download from Kaggle (account needed).",
    ),
    Dataset(
        key="isic",
        title="ISIC",
        aliases=("ISIC 2016", "ISBI", "ISBI2016"),
        domain="medical",
        levels=("pixel",),
        classes=one("skin", "isic", 0, 379),
        folders=("isic", "ISIC2016", "ISBI"),
        raw=Raw(
            "pairs",
            ("ISIC", "ISBI", "ISIC2016"),
            (
                ("ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"),
                ("skin/test/ISBI2016_ISIC_Part1_Test_Data", "skin/ISBI2016_ISIC_Part1_Test_GroundTruth"),
            ),
        ),
        licence="CC0 (the 2016 data)",
        homepage="https://challenge.isic-archive.com/landing/2016/37",
        archives=(),
        how_to_get="Download test data and test ground truth of 2016 Task 1 from "
        "https://challenge.isic-archive.com/data/ and unpack both into one folder.",
    ),
    Dataset(
        key="cvc_colondb",
        title="ColonDB",
        aliases=("CVC-ColonDB",),
        domain="medical",
        levels=("pixel",),
        classes=one("colon", "ColonDB", 0, 380),
        folders=("cvc_colondb", "cvc-colondb", "colondb"),
        raw=Raw("pairs", ("CVC-ColonDB",), (("images", "masks"),), mask_prefix="p"),
        licence="not verified",
        homepage="http://mv.cvc.uab.es/projects/colon-qa/cvccolondb",
        archives=(Archive("Polyp_DataSet.zip", FIGSHARE),),
        how_to_get="Download Polyp_DataSet.zip from figshare (article 21221579), or the official archive of "
        "N.tiff, pN.tiff (masks) and cpN.tiff (contours, not used) from the homepage; unpack a .rar first.",
    ),
    Dataset(
        key="cvc_clinicdb",
        title="ClinicDB",
        aliases=("CVC-ClinicDB",),
        domain="medical",
        levels=("pixel",),
        classes=one("colon", "ClinicDB", 0, 612),
        folders=("cvc_clinicdb", "cvc-clinicdb", "clinicdb"),
        raw=Raw("pairs", ("CVC-ClinicDB",), (("images", "masks"), ("Original", "Ground Truth"))),
        licence="research and education only, no commercial use",
        homepage="https://polyp.grand-challenge.org/CVCClinicDB/",
        archives=(Archive("Polyp_DataSet.zip", FIGSHARE),),
        how_to_get="Download the official tif archive (homepage), or Polyp_DataSet.zip from figshare.",
    ),
    Dataset(
        key="tn3k",
        title="TN3K",
        aliases=(),
        domain="medical",
        levels=("pixel",),
        classes=one("thyroid", "tn3k", 0, 614),
        folders=("tn3k",),
        raw=Raw("pairs", ("tn3k", "TN3K"), (("test-image", "test-mask"),)),
        licence="code MIT, data without a separate licence",
        homepage="https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation",
        archives=(),
        how_to_get="Download by hand from https://drive.google.com/file/d/1reHyY5eTZ5uePXMVMzFOq5j3eFOSp50F "
        "or from Baidu (links on the homepage).",
    ),
)  # fmt: skip
