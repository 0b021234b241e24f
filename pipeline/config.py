"""The keys of a scenario file: one YAML for features, pipeline, model, training, export.

Every key is declared here, with its default, unit and meaning, and what goes with what;
`pipeline/scenario_file.py` reads the file.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.features import COUNTS, Categorical, Features, Numeric, Section

#: Of users: enough for the cores of a small machine.
FEWEST_SHARDS = 4
#: Units of hidden layers, the first first.
Layers = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
#: A bound of something that is between 0 and 1.
Share = Annotated[float, Field(ge=0, le=1)]
ModelName = Literal["dnn", "din", "category_moe", "aw_moe", "aw_moe_cl"]


class Behaviors(Section):
    """Which of a user's events are a session's behaviours; all are strictly before it."""

    click_days: float = Field(7, ge=0, description="clicks this many days back (paper: 7)")
    purchase_days: float = Field(365, ge=0, description="purchases this many days back (paper: one year)")
    max_behaviors: int = Field(50, ge=1, description="the newest this many")


class Split(Section):
    """Which sessions train, validate and test.

    by `time`: the earliest sessions train, the latest test; boundaries fall on full
    hours, or where `validation_start` and `test_start` say. by `user`: a keyed hash of the
    user decides. The rest is the test part.
    """

    by: Literal["time", "user"] = "time"
    train: float = Field(0.8, gt=0, lt=1)
    validation: float = Field(0.1, ge=0, lt=1)
    validation_start: datetime.date | None = Field(
        None, description="first day (UTC) of validation; default test_start"
    )
    test_start: datetime.date | None = Field(None, description="first day (UTC) of the test part, in place of shares")

    @model_validator(mode="after")
    def _leaves_a_test_part(self) -> Split:
        if self.train + self.validation >= 1:
            raise ValueError(f"train + validation is {self.train + self.validation:g}; leave some for the test part")
        if self.test_start is None:
            if self.validation_start is not None:
                raise ValueError("`validation_start` goes with `test_start`; give both")
            return self
        if self.by != "time" or self.model_fields_set & {"train", "validation"}:
            raise ValueError("`test_start` splits by time in place of shares; leave out `train` and `validation`")
        if self.validation_start is not None and self.validation_start > self.test_start:
            raise ValueError(f"`validation_start` ({self.validation_start}) is after `test_start` ({self.test_start})")
        return self

    @property
    def fixed_boundaries(self) -> tuple[int, int] | None:
        """When validation and test begin, in seconds, where the days are given."""
        if self.test_start is None:
            return None
        days = [day - datetime.date(1970, 1, 1) for day in (self.validation_start or self.test_start, self.test_start)]
        return int(days[0].total_seconds()), int(days[1].total_seconds())


class Pipeline(Section):
    """Raw log to session records."""

    source: Literal["search_log", "amazon", "amazon_search", "trivago"] = "search_log"
    label: Literal["purchased", "clicked"] = "purchased"
    behaviors: Behaviors = Behaviors()
    split: Split = Split()
    negatives_per_positive: float = Field(
        1, gt=0, description="training negatives sampled from the shown and not bought (paper: 1)"
    )
    shown_negatives: int = Field(10, ge=1, description="amazon_search: candidates beside the bought item")
    max_reject_share: float = Field(0.01, ge=0, le=1, description="rejected share of a table that fails the run")
    seed: int = Field(17, description="key of every hash that samples")
    shards: int | None = Field(
        None, ge=1, description="user shards of the join; default: one for each 8 MiB of the log, at least 4"
    )
    partition_by: Literal["day", "none"] = Field(
        "day", description="day: records by the day (UTC) of their session, which can be added or redone alone"
    )

    @property
    def join_shards(self) -> int:
        """`shards`, which the job sets by the size of the log where the scenario leaves it open."""
        return self.shards or FEWEST_SHARDS


class Gate(Section):
    """The gate network, eq. 6 to 8."""

    context: Literal["query", "target_item"] = Field(
        "query", description="query: once a session; target_item: a gate a candidate, cannot be exported"
    )
    form: Literal["scaled", "softmax", "raw"] = Field(
        "scaled",
        description="scaled: eq. 8 divided by the number of behaviours, plus 1/K; softmax of eq. 8; raw: eq. 8",
    )
    gate_unit: bool = Field(True, description="eq. 7; false: one linear layer to K (Table VI)")
    activation_unit: bool = Field(True, description="a' of eq. 8; false: every behaviour weighs 1 (Table VI)")
    unit_layers: Layers = Field((64, 32), description="hidden layers of both units")


class CategoryGate(Section):
    """The gate of Category-MoE: linear in a category's embedding, softmax."""

    feature: str = Field("query_category", description="categorical feature; a candidate's gives a gate a candidate")
    parent: str | None = Field(None, description="its parent category: adds the hierarchical soft constraint")
    hierarchy_weight: float = Field(0.1, ge=0, description="of that constraint (its paper: 0.1)")


class Contrastive(Section):
    """The contrastive loss on the gate, eq. 10 and 11."""

    weight: float = Field(0.05, ge=0, description="lambda of eq. 11; 0 switches it off")
    augmentations: tuple[Literal["mask", "crop", "reorder"], ...] = Field(
        ("mask",), min_length=1, description="each session's other view draws one of these (paper: mask)"
    )
    mask_probability: float = Field(0.1, gt=0, lt=1, description="each behaviour is left out with this probability")
    crop_share: float = Field(0.6, gt=0, le=1, description="share of the behaviours that a crop keeps")
    reorder_share: float = Field(0.6, gt=0, le=1, description="share of the behaviours that trade places")
    negatives: int = Field(3, ge=1, description="l: gates of other users in the batch")
    similarity: Literal["dot", "cosine"] = "dot"
    temperature: float = Field(1.0, gt=0)


class Experts(Section):
    """The expert networks, eq. 5, and the options of a mixture of many."""

    count: int = Field(4, ge=1, description="K; DNN and DIN have one")
    layers: Layers = Field((512, 256), description="hidden layers; one score on top")
    top_k: int | None = Field(None, ge=1, description="a sparse gate: a session uses so many, below count")
    noise: float = Field(0.0, ge=0, description="of the sparse gate in training, in deviations (Shazeer et al.: 1)")
    load_balance: float = Field(0.0, ge=0, description="weight of the load-balancing term (Category-MoE's paper: 0.1)")
    adversarial: float = Field(0.0, ge=0, description="weight of the adversarial term (Category-MoE's paper: 0.1)")
    disagreeing: int = Field(1, ge=1, description="experts drawn for the adversarial term; of a sparse gate, idle ones")

    @model_validator(mode="after")
    def _fewer_than_all(self) -> Experts:
        if self.top_k is not None and self.top_k >= self.count:
            raise ValueError(f"top_k: must be below count ({self.count}), not {self.top_k}; leave it out for all")
        if self.noise and self.top_k is None:
            raise ValueError("noise: is of a sparse gate; give `top_k` too")
        others, rule = (self.count - self.top_k, "count - top_k") if self.top_k else (self.count - 1, "count - 1")
        if self.adversarial and self.disagreeing > others:
            raise ValueError(f"disagreeing: must be at most {rule} ({others}), not {self.disagreeing}")
        return self


class Model(Section):
    """Which model, its sizes and regularisation."""

    name: ModelName = Field("aw_moe_cl", description="aw_moe_cl is aw_moe with the contrastive loss")
    embedding_dimension: int = Field(16, ge=1)
    hidden_layers: Layers = Field((64,), description="the MLPs of eq. 2 and 6; last is D")
    activation_layers: Layers = Field((64, 32), description="activation unit of eq. 3")
    pooling: Literal["sum", "mean"] = Field("sum", description="of the weighed behaviours; sum: eq. 3")
    experts: Experts = Experts()
    gate: Gate = Gate()
    category_gate: CategoryGate = CategoryGate()
    contrastive: Contrastive = Contrastive()
    id_dropout: float = Field(0.0, ge=0, lt=1, description="share of item ids hidden in training")
    embedding_l2: float = Field(0.0, ge=0, description="penalty on the looked-up embedding rows")

    @property
    def expert_count(self) -> int:
        """K of the named model: DNN and DIN have one expert, whose weight is 1."""
        return 1 if self.name in ("dnn", "din") else self.experts.count

    @property
    def gate_per_candidate(self) -> bool:
        """Whether the named model's gate looks at the candidate, so that a session has none of its own."""
        if self.name == "category_moe":
            return self.category_gate.feature.startswith("candidate_")
        return self.name in ("aw_moe", "aw_moe_cl") and self.gate.context == "target_item"

    @model_validator(mode="after")
    def _one_expert_has_no_options(self) -> Model:
        for option in ("top_k", "load_balance", "adversarial"):
            if self.name in ("dnn", "din") and getattr(self.experts, option):
                raise ValueError(f"experts.{option}: {self.name} has one expert; leave it out")
        return self


class Propensity(Section):
    """Positives count for more where users look less: each weighs `position^power`, one over the propensity to look."""

    feature: str = Field(description="numeric impression feature: the place at which it was shown, the first is 1")
    power: float = Field(1.0, gt=0, description="how fast users lose interest; 0 would be: not at all")
    max_weight: float = Field(10.0, ge=1, description="no positive weighs more")


class Training(Section):
    """Keras `fit`: AdamW for dense weights, Adagrad or a lazy AdamW for embedding tables."""

    loss: Literal["pointwise", "listwise", "pairwise"] = Field(
        "pointwise",
        description="pointwise: eq. 1, scores are probabilities; the others look at a session's candidates together, "
        "and scores are logits, which have no level",
    )
    positive_weight: float = Field(1.0, gt=0, description="pointwise loss: how much a positive counts, a negative 1")
    propensity: Propensity | None = Field(None, description="weighs positives by their place; default: all alike")
    batch_size: int = Field(512, ge=2, description="sessions a step (paper: 1,024 examples)")
    epochs: int = Field(3, ge=1)
    early_stopping: int | None = Field(
        None, ge=1, description="ends after so many epochs without a better validation session AUC; default: never"
    )
    dense_learning_rate: float = Field(3e-3, gt=0)
    schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="both learning rates over the whole training; cosine: falling to 0"
    )
    warmup_steps: int = Field(0, ge=0, description="steps in which both rise from 0 before the schedule begins")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW, dense weights only")
    table_optimizer: Literal["adagrad", "lazy_adamw"] = Field(
        "adagrad", description="both touch the looked-up rows alone. docs/training.md compares them"
    )
    table_learning_rate: float | None = Field(None, gt=0, description="default: 0.1 for adagrad, 0.003 for lazy_adamw")
    table_initial_accumulator: float = Field(1e-5, gt=0, description="adagrad; 0.1 would barely move rows")
    table_weight_decay: float = Field(0.0, ge=0, description="lazy_adamw, of the looked-up rows")
    clip_norm: float = Field(1.0, gt=0)
    shuffle_buffer: int = Field(20_000, ge=1, description="sessions")
    seed: int = Field(17, ge=0, lt=2**32)
    checkpoint_steps: int = Field(
        1000, ge=1, description="steps of an epoch between checkpoints; one more at its end. docs/training.md"
    )
    precision: Literal["float32", "mixed_bfloat16"] = Field(
        "float32",
        description="mixed_bfloat16: layers in bfloat16, weights and losses in float32, on CPUs with AMX and new GPUs; "
        "of training only, an export has `export.bfloat16`",
    )
    xla: bool = Field(False, description="compiles the step with XLA: on one GPU; slower on a CPU. docs/training.md")
    deterministic: bool = Field(False, description="TensorFlow's deterministic kernels only: slower on a GPU")

    @model_validator(mode="after")
    def _weights_change_something(self) -> Training:
        if self.positive_weight != 1 and self.loss != "pointwise":
            raise ValueError(
                f"positive_weight: is of the pointwise loss; {self.loss} compares positives with the others of their "
                "session, where it would only scale the loss; leave it out"
            )
        return self

    @property
    def rate_of_tables(self) -> float:
        """`table_learning_rate`, or the optimizer's own where the scenario leaves it open."""
        return self.table_learning_rate or {"adagrad": 0.1, "lazy_adamw": 3e-3}[self.table_optimizer]

    @model_validator(mode="after")
    def _adagrad_has_no_decay(self) -> Training:
        if self.table_optimizer == "adagrad" and self.table_weight_decay:
            raise ValueError("table_weight_decay: is of table_optimizer lazy_adamw; leave it out for adagrad")
        default = type(self).model_fields["table_initial_accumulator"].default
        if self.table_optimizer == "lazy_adamw" and self.table_initial_accumulator != default:
            raise ValueError("table_initial_accumulator: is of table_optimizer adagrad; leave it out for lazy_adamw")
        return self

    @property
    def scores_are_probabilities(self) -> bool:
        """Whether a score is `sigmoid(logit)`; else it is the logit itself.

        A loss that compares a session's candidates leaves their common level free. Far from 0 the sigmoid would make
        ties of logits that differ.
        """
        return self.loss == "pointwise"


class Slice(Section):
    """A named part of the test set: exactly one of the conditions.

    Example: `{name: few_behaviors, max_behaviors: 3}` or
    `{name: elderly, feature: user_age_group, values: ["60+"]}`.
    """

    name: str
    max_behaviors: int | None = Field(None, ge=0)
    feature: str | None = None
    values: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_condition(self) -> Slice:
        if (self.max_behaviors is None) == (self.feature is None) or bool(self.feature) != bool(self.values):
            raise ValueError("needs either `max_behaviors`, or `feature` with `values`")
        if self.name in ("full", "new_items"):
            raise ValueError(f"name: `{self.name}` is always reported; choose another name")
        return self


class Evaluation(Section):
    """What `awmoe evaluate` reports beside the full test set."""

    popularity: str | None = Field(None, description="as-of feature of candidates that ranks by popularity")
    displayed: str | None = Field(
        None, description="numeric impression feature that ranks as it was shown, lowest first"
    )
    slices: tuple[Slice, ...] = ()


class Floors(Section):
    """The least that a model's metrics of the full test part may be for an export; docs/export.md."""

    auc: Share | None = None
    auc_at_10: Share | None = None
    ndcg: Share | None = None
    ndcg_at_10: Share | None = None
    mrr: Share | None = None
    pooled_auc: Share | None = None


class Export(Section):
    """The SavedModel."""

    model_name: str = Field("awmoe", pattern=r"^[A-Za-z0-9_-]+$")
    max_score_difference: float = Field(
        1e-5,
        gt=0,
        description="exported against trained, on test sessions; of logits above 1 relative to the largest; "
        "with bfloat16 set about 0.02",
    )
    bfloat16: bool = Field(False, description="layers of experts and activation unit in bfloat16: for CPUs with AMX")
    floors: Floors = Field(Floors(), description="a run whose metrics are below is not published")


class FeatureThresholds(Section):
    """Thresholds of one feature; one that is not given is that of the section `validation`."""

    drift: Share | None = Field(None, description="in place of `text_drift` or `number_drift`")
    new_values: Share | None = None
    vanished_values: Share | None = None
    missing_increase: Share | None = None


class Validation(Section):
    """What `awmoe validate` lets pass; a threshold of 1 lets everything pass. docs/validation.md explains each."""

    text_drift: Share = Field(0.05, description="largest change of a value's share (L-infinity distance)")
    number_drift: Share = Field(0.1, description="Jensen-Shannon divergence, base 2")
    new_values: Share = Field(0.02, description="share of new data's values that old data does not have")
    vanished_values: Share = Field(0.02, description="share of old data's values that new data does not have")
    new_items: Share = Field(0.1, description="in place of `new_values` for item ids, which come by nature")
    vanished_items: Share = Field(0.1, description="in place of `vanished_values` for item ids, which go by nature")
    missing_increase: Share = Field(0.02, description="rise of the share of missing values")
    label_rate: Share = Field(0.2, description="change of the share of positives, relative to the larger")
    behavior_count: Share = Field(0.2, description="change of the mean number of behaviours, relative to the larger")
    fewest_sessions: int = Field(2000, ge=1, description="a part with fewer is too small to be compared")
    same_schema: bool = Field(True, description="false: features gone, added or of another type are told, not failed")
    features: dict[str, FeatureThresholds] = Field(
        default_factory=dict, description="by record column, for instance candidate_brand"
    )


class Scenario(Section):
    """One scenario: everything under its YAML file."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    features: Features
    pipeline: Pipeline = Pipeline()
    model: Model = Model()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    export: Export = Export()
    validation: Validation = Validation()

    @model_validator(mode="after")
    def _consistent(self) -> Scenario:
        attention_gate = self.model.name in ("aw_moe", "aw_moe_cl")
        if attention_gate and self.model.gate.context == "query" and not self.features.query:
            raise ValueError(
                "model.gate.context: query needs features under `features.query`; "
                "declare one, or use context: target_item (no session gate can be exported then)"
            )
        if self.model.name == "category_moe":
            gate = self.model.category_gate
            groups = self.features.query_features + self.features.candidate_features
            categories = [f.name for f in groups if isinstance(f.declaration, Categorical)]
            for key, feature in (("feature", gate.feature), ("parent", gate.parent)):
                if feature is not None and feature not in categories:
                    raise ValueError(
                        f"model.category_gate.{key}: `{feature}` is none of {', '.join(categories) or '(none)'}, "
                        "the categorical features of query and candidate"
                    )
            if gate.parent == gate.feature:
                raise ValueError(f"model.category_gate.parent: `{gate.parent}` is the category itself, not its parent")
            if gate.parent is not None and gate.parent.partition("_")[0] != gate.feature.partition("_")[0]:
                raise ValueError(
                    f"model.category_gate.parent: `{gate.parent}` must be of the group that `{gate.feature}` is of"
                )
        ages = [f for f in self.features.behavior_features if f.field == "age_days"]
        if self.model.name == "aw_moe_cl" and "reorder" in self.model.contrastive.augmentations and not ages:
            raise ValueError("model.contrastive.augmentations: reorder needs features.behavior.age_days")
        popularity = self.evaluation.popularity
        candidates = [f.field for f in self.features.candidate_features if f.as_of]
        if popularity is not None and popularity not in candidates:
            raise ValueError(
                f"evaluation.popularity: `{popularity}` is none of the candidates' as-of features: "
                f"{', '.join(candidates) or '(none)'}"
            )
        shown = [f.field for f in self.features.impression_features if isinstance(f.declaration, Numeric)]
        propensity = self.training.propensity
        for key, field in (
            ("evaluation.displayed", self.evaluation.displayed),
            ("training.propensity.feature", propensity and propensity.feature),
        ):
            if field is not None and field not in shown:
                raise ValueError(
                    f"{key}: `{field}` is none of the numeric features of `impression`: {', '.join(shown) or '(none)'}"
                )
        names = [part.name for part in self.evaluation.slices]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"evaluation.slices: two are named `{repeated[0]}`")
        session = [
            f.name for f in self.features.query_features + self.features.user_features if f.spec.dtype == "string"
        ]
        for part in self.evaluation.slices:
            if part.feature is not None and part.feature not in session:
                allowed = ", ".join(session) or "(none)"
                raise ValueError(f"evaluation.slices.{part.name}.feature: `{part.feature}` is none of {allowed}")
        columns = [spec.name for spec in (*(f.spec for f in self.features.encoded), *COUNTS)]
        if unknown := sorted(self.validation.features.keys() - set(columns)):
            raise ValueError(f"validation.features: `{unknown[0]}` is none of {', '.join(columns)}")
        return self
