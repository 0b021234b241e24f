"""Feature declarations: the contract that every stage reads.

A scenario declares its features once, under `features:` in its YAML file. This
module validates the declaration (`Features`) and derives from it the flat list of
tensors (`Feature`) that the pipeline writes, the model reads, the export takes and
the client sends. A tensor has one name everywhere: `<group>_<field>`, for instance
`behavior_brand`, `candidate_brand`, `query_terms`, `user_age_group`.

Shapes use one vocabulary: `B` sessions, `T` behaviours of a user, `N` candidates.

Example:
    features = load_scenario("configs/search.yaml").features
    [feature.name for feature in features.candidate]  # ['candidate_item_id', ...]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Group = Literal["behavior", "candidate", "query", "user"]
Axis = Literal["", "T", "N"]
DType = Literal["string", "float32", "int64"]

#: The group's second axis: behaviours are `[B, T]`, candidates `[B, N]`, the rest `[B]`.
GROUP_AXIS: dict[Group, Axis] = {"behavior": "T", "candidate": "N", "query": "", "user": ""}
#: Fields a behaviour has beside its item's: what the user did, and how long ago.
BEHAVIOR_FIELDS = ("action", "age_days")
#: The user as an entity of as-of features; every other entity is a field of `item`.
USER_ENTITY = "user"


#: Columns of the raw tables that hold ids, hence text.
RAW_IDS: dict[str, tuple[str, ...]] = {
    "item": ("item_id", "title"),
    "impression": ("item_id",),
    "query": ("session_id", "user_id"),
    "user": ("user_id",),
}
#: Columns of raw sessions that are neither text nor a number.
RAW_LISTS = ("time", "candidates", "clicked", "purchased", "new_item")
#: What a candidate of a raw session has beside its impression's columns: which item it is and what became of it.
RAW_CANDIDATE = ("item_id", "clicked", "purchased")
#: Begins the names of raw sessions' columns that hold what impressions have, one list a column.
IMPRESSION_PREFIX = "candidates."


class Section(BaseModel):
    """A section of the scenario file: no unknown keys, no value of another type, no infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Table(Section):
    """An embedding table: raw values to rows. Features that name the same table share it.

    Rows are laid out as `[missing][out of vocabulary...][vocabulary...]`, so a
    vocabulary can grow at its end without moving a row. With `hash_buckets` there is
    no vocabulary: `[missing][buckets...]`.
    """

    dimension: int | None = Field(None, ge=1, description="columns; default model.embedding_dimension")
    min_count: int = Field(1, ge=1, description="occurrences in training below which a value is unknown")
    oov_buckets: int = Field(1, ge=1, description="rows shared by values outside the vocabulary")
    hash_buckets: int | None = Field(None, ge=1, description="hash instead of a vocabulary")

    @model_validator(mode="after")
    def _combination(self) -> Table:
        if self.hash_buckets and (ignored := self.model_fields_set & {"min_count", "oov_buckets"}):
            raise ValueError(f"`{min(ignored)}` is of a vocabulary and `hash_buckets` replaces it; give one of them")
        return self


class Categorical(Section):
    """One string value; the empty string means missing."""

    kind: Literal["categorical"]
    table: str
    column: str | None = Field(None, description="raw column, default the feature's own name")


class MultiCategorical(Section):
    """Several values in one string (query terms), split in the graph; embeddings are averaged."""

    kind: Literal["multi_categorical"]
    table: str
    separator: str = Field(" ", min_length=1)
    max_values: int = Field(16, ge=1, description="values beyond this many are ignored")
    column: str | None = Field(None, description="raw column, default the feature's own name")


class Numeric(Section):
    """One number. NaN means missing and is allowed where `optional`."""

    kind: Literal["numeric"]
    log: bool = Field(False, description="log(1 + x) first; x must not be negative")
    standardize: bool = Field(True, description="subtract the training mean, divide by the deviation")
    buckets: int | None = Field(None, ge=2, description="quantile buckets with an embedding each instead")
    optional: bool = Field(False, description="may be missing; adds a 0/1 missing indicator")
    column: str | None = Field(None, description="raw column, default the feature's own name")

    @model_validator(mode="after")
    def _combination(self) -> Numeric:
        if self.buckets and "standardize" in self.model_fields_set:
            raise ValueError("`buckets` and `standardize` exclude each other; give one of them")
        return self


#: Names of features and tables: they become names of tensors, columns and files.
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Declaration = Annotated[Categorical | MultiCategorical | Numeric, Field(discriminator="kind")]


class AsOf(Section):
    """A number the pipeline computes from events strictly before the session's time.

    measure `count`: events of the entity (with `action`, within `window_days`).
    measure `age_days`: days since the entity's first event; missing if it has none.
    measure `bought_with` (entity `item_id`): over the user's distinct behaviour items,
    how many times the candidate was bought by a user who also bought that item.
    All are log(1 + x), then standardised.
    """

    entity: str = Field(description="`user`, or a categorical field of `item`")
    measure: Literal["count", "age_days", "bought_with"]
    action: Literal["click", "purchase"] | None = None
    window_days: float | None = Field(None, gt=0, description="default: all time")

    @model_validator(mode="after")
    def _combination(self) -> AsOf:
        if self.measure != "count" and (self.action or self.window_days):
            raise ValueError(f"`action` and `window_days` go with measure: count, not {self.measure}")
        if self.measure == "bought_with" and self.entity != "item_id":
            raise ValueError("measure: bought_with needs entity: item_id")
        return self


class Cross(Section):
    """A feature of a candidate and the behaviours, computed in the model's graph.

    kind `match`: how many behaviours share the candidate's value of the field, how recent the
    latest of them is, and its place among all (three numbers). kind `ratio`: log of the
    candidate's number minus the mean log over the behaviours (one number).
    """

    kind: Literal["match", "ratio"]
    field: str


@dataclass(frozen=True)
class InputSpec:
    """One tensor of a request or a record: `shape` is `[B]`, `[B, T]` or `[B, N]`."""

    name: str
    dtype: DType
    axis: Axis = ""


@dataclass(frozen=True)
class Feature:
    """One tensor and how the model encodes it.

    Attributes:
        name: tensor name everywhere, `<group>_<field>`.
        group: behavior, candidate, query or user.
        field: the feature's name in the declaration.
        column: the raw table's column that holds it.
        statistic: key of its statistics; behaviours and candidates share an item's, an impression has its own.
        declaration: how it is encoded.
        as_of: how the pipeline computes it, where it does.
    """

    name: str
    group: Group
    field: str
    column: str
    statistic: str
    declaration: Categorical | MultiCategorical | Numeric
    as_of: AsOf | None = None

    @property
    def spec(self) -> InputSpec:
        """The tensor as it travels, in records and requests."""
        dtype: DType = "float32" if isinstance(self.declaration, Numeric) else "string"
        return InputSpec(self.name, dtype, GROUP_AXIS[self.group])

    @property
    def table(self) -> str | None:
        """The embedding table's name: declared, or its own for a bucketised number."""
        if isinstance(self.declaration, Numeric):
            return self.statistic if self.declaration.buckets else None
        return self.declaration.table


class Features(Section):
    """The declaration of a scenario's features, as under `features:` in its YAML file."""

    tables: dict[Name, Table] = Field(default_factory=dict)
    item: dict[Name, Declaration] = Field(description="of a candidate and of every behaviour's item")
    impression: dict[Name, Declaration] = Field(
        default_factory=dict, description="of a candidate as its session shows it: position, displayed price"
    )
    behavior: dict[Name, Declaration] = Field(default_factory=dict)
    query: dict[Name, Declaration] = Field(default_factory=dict)
    user: dict[Name, Declaration] = Field(default_factory=dict)
    as_of: dict[Name, AsOf] = Field(default_factory=dict)
    cross: dict[Name, Cross] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Features:
        item_id = self.item.get("item_id")
        if not isinstance(item_id, Categorical):
            raise ValueError("item: needs `item_id: {kind: categorical, table: ...}`")
        for field in self.behavior:
            if field not in BEHAVIOR_FIELDS:
                raise ValueError(
                    f"behavior.{field}: allowed are {', '.join(BEHAVIOR_FIELDS)}; what an item has goes under `item`"
                )
        if isinstance(self.behavior.get("age_days"), Categorical | MultiCategorical):
            raise ValueError("behavior.age_days: must be numeric")
        if isinstance(self.behavior.get("action"), MultiCategorical | Numeric):
            raise ValueError("behavior.action: must be categorical")
        for name in self.impression:
            if name in self.item:
                raise ValueError(f"impression.{name}: that name is an item's; choose another and say `column: {name}`")
        for name, as_of in self.as_of.items():
            if as_of.entity != USER_ENTITY and not isinstance(self.item.get(as_of.entity), Categorical):
                allowed = [USER_ENTITY, *(f for f, d in self.item.items() if isinstance(d, Categorical))]
                raise ValueError(f"as_of.{name}.entity: `{as_of.entity}` is none of {', '.join(allowed)}")
            if name in self.item or name in self.impression or name in self.user or name == "user_id":
                raise ValueError(
                    f"as_of.{name}: that name is taken by an item's, an impression's or a user's; choose another"
                )
        for name, cross in self.cross.items():
            wanted = Numeric if cross.kind == "ratio" else Categorical
            if not isinstance(self.item.get(cross.field), wanted):
                allowed = [f for f, d in self.item.items() if isinstance(d, wanted)]
                raise ValueError(
                    f"cross.{name}.field: `{cross.field}` is none of {', '.join(allowed) or '(none)'}, "
                    f"the {wanted.__name__.lower()} fields of `item`"
                )
        if any(cross.kind == "match" for cross in self.cross.values()) and "age_days" not in self.behavior:
            raise ValueError("cross: kind match needs behavior.age_days (how long ago)")
        taken = [spec.name for spec in (*(f.spec for f in self.encoded), *COUNTS, *RECORD_COLUMNS)]
        if twice := sorted({name for name in taken if taken.count(name) > 1}):
            group, _, field = twice[0].partition("_")
            raise ValueError(
                f"`{field}`: a {group} has a `{twice[0]}` of its own; give the feature another name and "
                f"say `column: {field}`"
            )
        declared = {f.table for f in self.encoded if not isinstance(f.declaration, Numeric)}
        for group, features in (
            ("item", self.item_features),
            ("impression", self.impression_features),
            ("query", self.query_features),
            ("user", self.user_features),
        ):
            kinds: dict[str, bool] = dict.fromkeys(RAW_IDS[group], False)
            for f in features:
                number = isinstance(f.declaration, Numeric)
                if f.as_of is None and kinds.setdefault(f.column, number) != number:
                    raise ValueError(f"{group}.{f.field}: column `{f.column}` is text, and here a number")
                own = f.column in RAW_LISTS or f.column.startswith(IMPRESSION_PREFIX)
                if own and group == "query":
                    raise ValueError(
                        f"query.{f.field}: column `{f.column}` is the session's own, no feature of its query"
                    )
                if f.column in RAW_CANDIDATE and group == "impression":
                    raise ValueError(
                        f"impression.{f.field}: column `{f.column}` says which item it is or what became of it, "
                        "no feature of how it was shown"
                    )
        unknown = sorted(str(t) for t in declared - set(self.tables))
        if unknown:
            raise ValueError(
                f"tables: `{unknown[0]}` is used by a feature and not declared; "
                f"declared are {', '.join(self.tables) or '(none)'}"
            )
        unused = sorted(set(self.tables) - {str(t) for t in declared})
        if unused:
            raise ValueError(f"tables: `{unused[0]}` is used by no feature")
        clash = sorted(set(self.tables) & {f.statistic for f in self.encoded if isinstance(f.declaration, Numeric)})
        if clash:
            raise ValueError(f"tables: `{clash[0]}` is the name of a number's own table; choose another")
        return self

    def _group(self, group: Group, declared: dict[str, Declaration], origin: str) -> tuple[Feature, ...]:
        return tuple(
            Feature(
                name=f"{group}_{field}",
                group=group,
                field=field,
                column=declaration.column or field,
                statistic=f"{origin}_{field}",
                declaration=declaration,
            )
            for field, declaration in declared.items()
        )

    def _as_of(self, group: Group) -> tuple[Feature, ...]:
        return tuple(
            Feature(
                name=f"{group}_{name}",
                group=group,
                field=name,
                column=name,
                statistic=f"as_of_{name}",
                declaration=Numeric(kind="numeric", log=True, optional=as_of.measure == "age_days"),
                as_of=as_of,
            )
            for name, as_of in self.as_of.items()
            if (as_of.entity == USER_ENTITY) == (group == "user")
        )

    @cached_property
    def behavior_features(self) -> tuple[Feature, ...]:
        """Of each behaviour, `[B, T]`: its item's fields, then action and age."""
        return self._group("behavior", self.item, "item") + self._group("behavior", self.behavior, "behavior")

    @cached_property
    def item_features(self) -> tuple[Feature, ...]:
        """Of each candidate, `[B, N]`: its item's fields, the same in every session."""
        return self._group("candidate", self.item, "item")

    @cached_property
    def impression_features(self) -> tuple[Feature, ...]:
        """Of each candidate, `[B, N]`: how this session shows it."""
        return self._group("candidate", self.impression, "impression")

    @cached_property
    def candidate_features(self) -> tuple[Feature, ...]:
        """Of each candidate, `[B, N]`: the item's fields, the impression's, then as-of numbers."""
        return self.item_features + self.impression_features + self._as_of("candidate")

    @cached_property
    def query_features(self) -> tuple[Feature, ...]:
        """Of the query, `[B]`."""
        return self._group("query", self.query, "query")

    @cached_property
    def user_features(self) -> tuple[Feature, ...]:
        """Other session features, `[B]`: the user's profile and as-of numbers."""
        return self._group("user", self.user, "user") + self._as_of("user")

    @cached_property
    def encoded(self) -> tuple[Feature, ...]:
        """Every tensor the model encodes, in one fixed order."""
        return self.behavior_features + self.candidate_features + self.query_features + self.user_features

    @cached_property
    def gate_inputs(self) -> tuple[InputSpec, ...]:
        """Inputs of the `session_gate` signature: behaviours and the query, no more."""
        session = [f.spec for f in self.behavior_features + self.query_features]
        return (*session, InputSpec("behavior_count", "int64"))

    @cached_property
    def score_inputs(self) -> tuple[InputSpec, ...]:
        """Inputs of the `score_items` signature, but for the gate itself (`gate`, `[B, K]`)."""
        return (*(f.spec for f in self.encoded), *COUNTS)


#: How many behaviours and candidates are real; masks come from these, never from ids.
COUNTS = (InputSpec("behavior_count", "int64"), InputSpec("candidate_count", "int64"))
#: What a record has beside the model's inputs.
RECORD_COLUMNS = (
    InputSpec("session_id", "string"),
    InputSpec("user_id", "string"),
    InputSpec("time", "int64"),
    InputSpec("candidate_label", "float32", "N"),
)
