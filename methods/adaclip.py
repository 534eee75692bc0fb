"""AdaCLIP: a CLIP whose two towers are prompted by learned tokens, some of them made from the image.

Cao, Zhang, Frittoli, Cheng, Shen, Boracchi, ECCV 2024, arXiv 2407.15795. CLIP stays frozen and runs with
exact GELU, as in the official code, though its weights were trained with QuickGELU.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.backbones import clip
from methods.backbones.blocks import run_blocks
from methods.base import Features, Prediction, TrainingBatch
from methods.clip_based import ClipBased
from methods.kmeans import kmeans
from methods.learned_prompts import overwrite
from methods.learned_tensors import Shapes, blank, layer
from methods.learning import Recipe, Stage, dice, focal, summed
from methods.maps import gaussian_smooth, probability_maps, similarity_logits
from methods.options import between, one_of
from methods.prediction import joined
from methods.prompts import (
    ABNORMAL_STATES,
    NORMAL_STATES,
    SHORT_TEMPLATES,
    PromptEnsemble,
    TextPairs,
    mean_feature,
)
from methods.weights import HubFile, WeightFile

_MIRROR, _REVISION = "cubert-gmbh/adaclip", "16153b4ba74c2fe54a99679fc2e1b1e29993dc3f"
_DRIVE = "https://drive.google.com/file/d"
_ALL_PROMPTS = {"prompting_branch": "VL", "prompting_type": "SD"}
_TOWERS = {"L": "text", "V": "visual"}

ENSEMBLE = PromptEnsemble(NORMAL_STATES, ABNORMAL_STATES, SHORT_TEMPLATES)
_TEMPERATURE = 0.01  # logits are 100 times the cosine; CLIP's own scale is not used
_MOST_WORDS = 76  # positions behind the start token


class Parts(NamedTuple):
    """What scores and maps of B images are made from; features have unit length."""

    text: Tensor
    """Normal and abnormal text features (B, 2, E)."""
    embedding: Tensor
    """Image embeddings of the prompted pass (B, E), not normalised."""
    image: Tensor
    """Class features (B, E): the embeddings through the learned layer."""
    patches: Tensor
    """Patch features (B, layers, N, E)."""
    logits: Tensor
    """Their (normal, abnormal) logits (B, layers, N, 2)."""


class AdaCLIP(ClipBased):
    """CLIP with static and dynamic prompts in both towers and hybrid semantic fusion (HSF)."""

    title = "AdaCLIP"
    prompting = "prompt ensemble with the name, tokens learned and made from the image"
    paper = "https://arxiv.org/abs/2407.15795"
    code = "https://github.com/caoyunkang/AdaCLIP"
    licence = "MIT"
    official_precision = "float16"
    notes = (
        "k-means is seeded for every image, so scores do not depend on the images before; the official code "
        "seeds once a process, which moves image scores by about 0.01"
    )

    defaults = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP
        "image_size": 518,
        "layers": (6, 12, 18, 24),  # blocks whose patch tokens are compared, from 1
        "prompting_depth": 4,  # prompted blocks
        "prompting_length": 5,  # prompt tokens in each
        "prompting_branch": "VL",  # V: vision tower, L: text tower
        "prompting_type": "SD",  # S: static, D: made from the image; both are added
        "use_hsf": True,  # hybrid semantic fusion: the image score also takes the most abnormal patches
        "k_clusters": 20,  # clusters of each image's most abnormal patches
        "kmeans_seed": 111,  # of the clustering, for every image anew
        "sigma": 4.0,  # of the Gaussian that smooths the final map, in pixels
        # The official dice loss takes every row of a map for a map of its own: a slip that the published
        # weights were trained with. `image` is what was meant.
        "dice": "row",
    }
    presets = {
        "no-hsf": {"use_hsf": False},
        "static-only": {"prompting_type": "S"},
        "vision-prompts-only": {"prompting_branch": "V"},
        "text-prompts-only": {"prompting_branch": "L"},
        "no-prompts": {"prompting_branch": "", "prompting_type": ""},
        "mini": {"backbone": "mini", "image_size": 140, "layers": (2, 3, 5, 6), "k_clusters": 10},
    }
    sources = {
        "*": "mvtec+cvc_colondb",
        "mvtec": "visa+cvc_clinicdb",
        "cvc_colondb": "visa+cvc_clinicdb",
    }
    selected_on = {
        "mvtec+cvc_colondb": ("visa",),
        "visa+cvc_clinicdb": ("mvtec",),
    }
    published = {
        source: WeightFile(
            name=f"adaclip/ViT-L-14-336/trained_on_{source}.pth",
            hub=HubFile(_MIRROR, file, _REVISION),
            rough_size=42_700_000,
            sha256=digest,
            digest_by_third_party=True,  # the mirror's owners
            by_hand=f"{file} from the authors' drive, {_DRIVE}/{drive}/view",
            licence="none stated; the code is MIT",
        )
        for source, file, drive, digest in (
            (
                "mvtec+cvc_colondb",
                "pretrained_mvtec_colondb.pth",
                "1xVXANHGuJBRx59rqPRir7iqbkYzq45W0",
                "be51a42c052bd4cf060e54f503a1f5d0b2a3b899bc8dc2e243042f18b215427e",
            ),
            (
                "visa+cvc_clinicdb",
                "pretrained_visa_clinicdb.pth",
                "1QGmPB0ByPZQ7FucvGODMSz7r5Ke5wx9W",
                "3deabbbaf1e412cfdfcb42923a500b986f4b9ee96ccbc7a735d89dbc87df44c8",
            ),
        )
    }
    recipe = Recipe(
        stages=(
            Stage(
                epochs=5,
                batch_size=1,
                learning_rate=0.01,
                betas=(0.5, 0.999),
                weight_decay=0.01,
                optimiser=torch.optim.AdamW,
                losses={"image": 1.0, "focal": 1.0, "dice_abnormal": 1.0, "dice_normal": 1.0},
                mosaic={"mvtec": 0.2},
            ),
        ),
        seed=111,
    )

    position_resize = ("bicubic", False)
    encoder_options = ("backbone", "image_size", "prompting_branch", "prompting_type")
    handed_on = "images"
    shaping = ("prompting_depth", "prompting_length", *_ALL_PROMPTS)

    def __init__(self, model: open_clip.CLIP, learned: Mapping[str, Tensor], **options: Any) -> None:
        """Take a CLIP built with exact GELU, and the learned tensors by their published names.

        Raises `ValueError` where options, CLIP and tensors do not fit.
        """
        super().__init__(model, learned, **options)
        if self.options["prompting_branch"]:
            between(self.options, prompting_depth=(1, len(clip.vision_blocks(model))))
        patches = self.grid[0] * self.grid[1]
        if self.options["use_hsf"] and not 1 <= self.options["k_clusters"] <= patches:
            raise ValueError(f"k_clusters must lie between 1 and the {patches} patches of an image")
        self._texts = TextPairs(self._pair, self._text_prompts)

    # --- options and files --------------------------------------------------------------------------

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for a value that cannot be."""
        resolved = super().resolve(options)
        branch, kind = resolved["prompting_branch"], resolved["prompting_type"]
        if not set(branch) <= set("VL") or not set(kind) <= set("SD"):
            raise ValueError(
                f"prompting_branch is of V and L, prompting_type of S and D; not {branch}, {kind}"
            )
        if branch and not kind:
            raise ValueError("prompting_type is empty but prompting_branch is not; set both or neither")
        if "L" in branch and "S" not in kind:
            raise ValueError("text prompts are never dynamic alone; set prompting_branch=V")
        if branch:
            between(resolved, prompting_length=(1, _MOST_WORDS))
        one_of(resolved, dice=("row", "image"))
        return resolved

    @classmethod
    def learned_file(cls, options: Mapping[str, Any], source: str) -> WeightFile:
        """Return the file of what was learned on `source`; a published one serves every choice of prompts."""
        file = super().learned_file({**options, **_ALL_PROMPTS}, source)
        return cls.own_file(options, source) if file is None or file.trained_here else file

    @classmethod
    def learned_shapes(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
        """Return published names and shapes of what the options learn."""
        wide, joint = backbone["visual.proj"].shape
        widths = {"text": backbone["text_projection"].shape[0], "visual": wide}
        length, shapes = options["prompting_length"], Shapes()
        for tower in (_TOWERS[letter] for letter in options["prompting_branch"]):
            if "S" in options["prompting_type"]:
                for block in range(options["prompting_depth"]):
                    shapes[f"{tower}_prompter.static_prompts.{block}"] = (length, widths[tower])
            if "D" in options["prompting_type"]:
                for token in range(length):
                    shapes |= layer(f"dynamic_{tower}_prompt_generator.head.{token}", widths[tower], joint)
        for level in range(len(options["layers"])):
            shapes |= layer(f"patch_token_layer.head.{level}", joint, wide)
        shapes |= layer("cls_token_layer.head.0", joint, joint)
        return {f"clip_model.{name}": shape for name, shape in shapes.items()}

    @classmethod
    def fresh(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor]:
        """Return what training begins with: static prompts N(0, 0.02^2), linear layers as torch has them."""
        generator, shapes = torch.Generator().manual_seed(seed), cls.learned_shapes(options, backbone)
        tensors = {}
        for name, shape in shapes.items():
            if "static_prompts" in name:
                tensors[name] = 0.02 * torch.randn(shape, generator=generator)
            else:
                inner = shapes[name.removesuffix("bias").removesuffix("weight") + "weight"][1]
                tensors[name] = torch.empty(shape).uniform_(-(inner**-0.5), inner**-0.5, generator=generator)
        return tensors

    @classmethod
    def unused(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the prompts of published files that the options leave out."""
        every = cls.learned_shapes({**options, **_ALL_PROMPTS}, backbone)
        needed = cls.learned_shapes(options, backbone)
        return blank({name: every[name] for name in every if name not in needed})

    def _linear(self, name: str, values: Tensor) -> Tensor:
        return F.linear(values, *self.layer(f"clip_model.{name}"))

    # --- prompts (section 3.2) ----------------------------------------------------------------------

    def dynamic_tokens(self, tower: str, unprompted: Tensor | None) -> Tensor | None:
        """Return the tokens (B, L, W) made from unprompted embeddings (B, E) for `visual` or `text`.

        They are the same for all blocks. None where the options have none.
        """
        if unprompted is None or tower not in {_TOWERS[each] for each in self.options["prompting_branch"]}:
            return None
        generator, tokens = f"dynamic_{tower}_prompt_generator.head", range(self.options["prompting_length"])
        return torch.stack([self._linear(f"{generator}.{token}", unprompted) for token in tokens], dim=1)

    def _prompt(self, tower: str, block: int, dynamic: Tensor | None, rows: int) -> Tensor:
        # `dynamic` (n, L, W) is repeated where there are several rows to an image.
        parts = []
        if "S" in self.options["prompting_type"]:
            static = self.get_parameter(f"clip_model.{tower}_prompter.static_prompts.{block}")
            parts.append(static.expand(rows, -1, -1))
        if dynamic is not None:
            parts.append(dynamic.repeat_interleave(rows // len(dynamic), dim=0))
        # Through float16 as in the official code, for each row apart: so do the gradients.
        return torch.stack(parts).sum(dim=0).half()

    def text_features(self, names: Sequence[str], unprompted: Tensor | None) -> Tensor:
        """Return unit-length text features (B, 2, E), normal then abnormal, of the images' objects.

        With dynamic text prompts they depend on the images' unprompted embeddings (B, E). Otherwise they are
        kept for every name, until learned prompts change or gradients are asked for.
        """
        dynamic = self.dynamic_tokens("text", unprompted)
        if dynamic is not None:
            return self._encode_texts(names, dynamic)
        return self._texts(names, self.positions)

    def _text_prompts(self) -> list[Tensor]:
        return [tensor for name, tensor in self.learned().items() if "text_prompter" in name]

    def _pair(self, name: str) -> Tensor:
        return self._encode_texts([name], None)[0]

    def _encode_texts(self, names: Sequence[str], dynamic: Tensor | None) -> Tensor:
        tokens = torch.cat([sentence_tokens(name) for name in names]).to(self.positions.device)
        tokens = clip.trimmed(tokens, at_least=1 + self.options["prompting_length"])
        # A prompt for block 0 is among the learned tensors, but nothing is overwritten there.
        prompted = range(1, self.options["prompting_depth"] if "L" in self.options["prompting_branch"] else 1)
        deep = [self._prompt("text", block, dynamic, len(tokens)) for block in prompted]
        encoded = clip.text_pass(self.model, tokens, before=overwrite(deep))
        counts = [len(state) for state in ENSEMBLE.sentences("object")] * len(names)
        means = [mean_feature(state, normalise_each=True) for state in encoded.split(counts)]
        return torch.stack(means).unflatten(0, (len(names), 2))

    # --- images -------------------------------------------------------------------------------------

    def encode(self, images: Tensor) -> Features:
        """Return what nothing learned changes: the `images`, and `unprompted` (B, E) for dynamic prompts.

        That is the embedding of the unprompted pass, not normalised, that dynamic prompts are made from.
        """
        if "D" not in self.options["prompting_type"] or not self.options["prompting_branch"]:
            return {"images": images}
        return {
            "images": images,
            "unprompted": torch.cat([self._unprompted(part) for part in images.split(_at_once(images))]),
        }

    @torch.no_grad()
    def _unprompted(self, images: Tensor) -> Tensor:
        hidden = clip.embed_image(self.model, images, self.positions)
        hidden, _ = run_blocks(clip.vision_blocks(self.model), hidden, first=1)
        return clip.project(self.model, hidden[:, 0]).float()

    def _prompted(self, images: Tensor, unprompted: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        # Prompts are appended behind the patches, replaced before each prompted block, and left out again.
        dynamic = self.dynamic_tokens("visual", unprompted)
        own = 1 + self.grid[0] * self.grid[1]

        def append(index: int, hidden: Tensor) -> Tensor:
            if "V" not in self.options["prompting_branch"] or index >= self.options["prompting_depth"]:
                return hidden
            prompt = self._prompt("visual", index, dynamic, len(hidden)).to(hidden.dtype)
            return torch.cat([hidden[:, :own], prompt], dim=1)

        with self.encoding(images):
            hidden = clip.embed_image(self.model, images, self.positions)
            layers, tower = self.options["layers"], clip.vision_blocks(self.model)
            hidden, taps = run_blocks(tower, hidden, taps=layers, before=append)
            embedding = clip.project(self.model, hidden[:, 0]).float()
        return embedding, [tap[:, 1:own] for tap in taps]

    def parts(self, features: Features, prompts: Sequence[str]) -> Parts:
        """Run the prompted towers on encoded images with their objects' names."""
        unprompted = features.get("unprompted")
        embedding, layers = self._prompted(features["images"], unprompted)
        text = self.text_features(prompts, unprompted)
        projected = [
            self._linear(f"patch_token_layer.head.{level}", each) for level, each in enumerate(layers)
        ]
        patches = F.normalize(torch.stack(projected, dim=1), dim=-1)
        image = F.normalize(self._linear("cls_token_layer.head.0", embedding), dim=-1)
        logits = similarity_logits(patches, text, _TEMPERATURE)
        return Parts(text, embedding, image, patches, logits)

    # --- scores -------------------------------------------------------------------------------------

    def fuse(self, parts: Parts) -> Tensor:
        """Return HSF's semantic features (B, E): what the most abnormal patches have in common."""
        clusters, seed = self.options["k_clusters"], self.options["kmeans_seed"]
        most = most_abnormal(parts.logits, 5 * clusters)
        points = parts.patches.take_along_dim(most[:, None, :, None], dim=2)
        return semantic_features(points, cluster(points, clusters, seed))

    def image_logits(self, parts: Parts, semantic: Tensor | None) -> Tensor:
        """Return (normal, abnormal) logits (B, 2) of class features mixed with `semantic` (B, E)."""
        image = parts.image
        if semantic is not None:
            image = F.normalize(0.2 * semantic + 0.8 * image, dim=-1)
        return similarity_logits(image, parts.text, _TEMPERATURE)

    def raw_maps(self, logits: Tensor) -> Tensor:
        """Return (normal, abnormal) maps (B, 2, S, S), not smoothed, of patch logits (B, N, 2)."""
        return probability_maps(logits, self.grid, self.image_size)

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Score encoded images; the map plays no part in the image score."""
        step, parts = _at_once(features["images"]), []
        for start in range(0, len(prompts), step):
            part = {name: tensor[start : start + step] for name, tensor in features.items()}
            parts.append(self._score(part, prompts[start : start + step]))
        return joined(parts)

    def _score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        parts = self.parts(features, prompts)
        semantic = self.fuse(parts) if self.options["use_hsf"] else None
        scores = self.image_logits(parts, semantic).softmax(dim=-1)[:, 1]
        maps = self.raw_maps(parts.logits.mean(dim=1))[:, 1]
        return Prediction(scores, gaussian_smooth(maps, self.options["sigma"]))

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms, scalars."""
        parts = self.parts(features, batch.prompts)
        semantic = self.fuse(parts) if self.options["use_hsf"] else None
        layers = [self.raw_maps(logits) for logits in parts.logits.unbind(1)]
        # With "row", a map's rows are taken for maps of their own.
        last = 1 if self.options["dice"] == "row" else 0
        normal, abnormal = ([each[:, state].flatten(0, last) for each in layers] for state in (0, 1))
        masks = batch.masks.float()
        target = masks.flatten(0, last)
        return {
            "image": focal(self.image_logits(parts, semantic).softmax(dim=-1), batch.labels),
            "focal": summed(focal, layers, masks),
            "dice_abnormal": summed(dice, abnormal, target),
            "dice_normal": summed(dice, normal, 1 - target),
        }


def sentence_tokens(name: str) -> Tensor:
    """Return the token ids (48, 77) of all sentences about an object, the normal ones first.

    Only the hyphen becomes a blank: `metal_nut` is tokenised as "metal _ nut".
    """
    normal, abnormal = ENSEMBLE.sentences(name.replace("-", " "))
    return clip.tokenize([*normal, *abnormal])


def _at_once(images: Tensor) -> int:
    # K-means depends on its points' order, and patches that are nearly alike change places with the last bit
    # of a number, which a batch's size can change. A CPU gains nothing from batches: there images go one by
    # one and scores are the same bit for bit. Elsewhere one image in forty may move by 0.002.
    return 1 if images.device.type == "cpu" else len(images)


# --- hybrid semantic fusion (section 3.3) --------------------------------------------------------------


def most_abnormal(logits: Tensor, count: int) -> Tensor:
    """Return the indices (B, k), k = min(count, N), of the patches most abnormal over the layers' mean."""
    abnormal = logits.mean(dim=1).softmax(dim=-1)[..., 1]
    return abnormal.topk(min(count, abnormal.shape[1]), dim=1).indices


def cluster(points: Tensor, clusters: int, seed: int) -> Tensor:
    """Return k-means labels (B, k) of patches (B, layers, k, E), each described by all its layers."""
    return kmeans(points.movedim(1, 2).flatten(2), clusters, seed)


def semantic_features(points: Tensor, labels: Tensor) -> Tensor:
    """Return the normalised means (B, E) of the clusters' means, each over its patches and layers.

    `points` (B, layers, k, E), `labels` (B, k). A cluster without patches does not count.
    """
    share = 1 / (labels[:, :, None] == labels[:, None]).sum(dim=2).to(points.dtype)
    weights = share / share.sum(dim=1, keepdim=True)
    return F.normalize((weights[:, None] @ points.mean(dim=1))[:, 0], dim=-1)
