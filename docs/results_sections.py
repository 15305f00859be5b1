"""The tables of docs/results.md: commands, claims of the papers, and published figures."""

from typing import NamedTuple

_RECBOLE = "[a rerun with RecBole](https://github.com/kanishkaRandunu/pswrec2k26)"
_S3REC = "[S3-Rec](https://arxiv.org/abs/2008.07873)"
_ESASREC = "[eSASRec](https://arxiv.org/abs/2508.06450)"
# Row -> HR@10 and NDCG@10 on Beauty, on Toys, and who published them.
PUBLISHED = (
    ("pop", "0.0152 / 0.0068", "0.0113 / 0.0061", _S3REC),
    ("caser", "0.0347 / 0.0176", "0.0270 / 0.0141", _S3REC),
    ("gru4rec", "0.0623 / 0.0342", "", _RECBOLE),
    ("bert4rec", "0.0404 / 0.0211", "", _RECBOLE),
    ("sasrec", "0.0605 / 0.0318", "0.0675 / 0.0374", f"{_S3REC}, one negative"),
    ("sasrec", "0.0921 / 0.0531", "0.0970 / 0.0580", f"{_ESASREC}, 256 negatives"),
    ("esasrec", "0.0928 / 0.0523", "0.0939 / 0.0538", _ESASREC),
)
_PRIOR = ["prior.decay=1", "prior.backward=0.5", "prior.popularity_power=0.5"]


class Section(NamedTuple):
    """A table of the page.

    Attributes:
        name: Its folder.
        title: Its heading.
        log: Folder of its log.
        command: "compare", "ablation" or "report".
        arguments: Its arguments, without the log; of a report, the run first.
        winner: Row that the paper claims to be ahead, or None.
        losers: Rows that the paper claims to be behind it.
        finding: What the paper finds in a study, or what the table does not show, as sentences. Can
            be empty.
    """

    name: str
    title: str
    log: str
    command: str
    arguments: list[str]
    winner: str | None = None
    losers: tuple[str, ...] = ()
    finding: str = ""


COUNTS = "decayed_transitions"
_COUNTED = ("pop", "transition", COUNTS, "item_knn")
_OTHERS = ("bpr_mf", "cml", "fmc", "hrm", "prme", "transrec", "attrec")
_SEQUENCE_MODELS = ("caser", "gru4rec", "bert4rec", "fmlp_rec", "sasrec", "esasrec", "mqsa_ted")


def _study(name: str, title: str, log: str, finding: str = "") -> Section:
    return Section(name, title, log, "ablation", [f"studies/{name}"], finding=finding)


def _heat_maps(model: str, title: str, log: str, user: str) -> Section:
    run = f"{log}/{log}/{model}/seed-1"
    return Section(f"{model}-attention", title, log, "report", [run, "--user", user])


SECTIONS = [
    Section(
        "ml-100k",
        "MovieLens-100K: the models of AttRec's paper",
        "ml-100k",
        "compare",
        [
            *("--data", "ml-100k", "--with-prior", "--against", "attrec", "--models"),
            "pop,transition,decayed_transitions,item_knn,attrec,fmc,fpmc,bpr_mf,cml,hrm,prme,"
            "transrec,caser",
            *_PRIOR,
        ],
        "attrec",
        ("prme", "transrec", "caser", "fpmc", "bpr_mf", "hrm", "cml"),
    ),
    Section(
        "ml-100k-all",
        "MovieLens-100K: all models",
        "ml-100k",
        "compare",
        ["--data", "ml-100k"],
    ),
    Section(
        "ml-100k-attrec",
        "MovieLens-100K in the order of the split of AttRec's authors",
        "ml-100k-attrec",
        "compare",
        [
            *("--data", "ml-100k", "--with-prior", "--against", "attrec", "--models"),
            "pop,transition,decayed_transitions,item_knn,attrec,attrec-authors,fpmc,bpr_mf,cml,hrm,"
            "prme,transrec,caser,sasrec",
            *_PRIOR,
            "data.source=movielens-100k-attrec",
        ],
        "attrec",
        ("prme", "transrec", "caser", "fpmc", "bpr_mf", "hrm", "cml"),
    ),
    Section(
        "ml-100k-equal-budget",
        "MovieLens-100K: the models of AttRec's paper, each searched with eight trials",
        "ml-100k",
        "compare",
        [
            *("--data", "ml-100k", "--trials", "8", "--with-prior", "--against", "attrec"),
            *("--models", "pop,decayed_transitions,attrec,bpr_mf,cml,fpmc,hrm,prme,transrec,caser"),
            *_PRIOR,
        ],
        "attrec",
        ("prme", "transrec", "caser", "fpmc", "bpr_mf", "hrm", "cml"),
    ),
    _study(
        "attrec-self_attention",
        "AttRec with and without self-attention",
        "ml-100k",
        "The paper finds that self-attention helps.",
    ),
    _study(
        "attrec-aggregation",
        "AttRec by the aggregation of the attended items",
        "ml-100k",
        "The default of the paper is the mean.",
    ),
    _study(
        "attrec-user_weight",
        "AttRec by the weight of the long-term interest",
        "ml-100k",
        "The paper finds 0.2 to 0.4 best.",
    ),
    _study("attrec-max_length", "AttRec by the length of the history", "ml-100k"),
    _study("attrec-dim", "AttRec by its width", "ml-100k"),
    _heat_maps("attrec", "AttRec: attention between the latest events", "ml-100k", "4"),
    *(
        Section(
            log,
            f"{title}: {which}",
            log,
            "compare",
            [
                *("--data", log, "--with-prior", "--slices", "--against", "mqsa_ted", "--models"),
                ",".join((*_COUNTED, *others, *more, *_SEQUENCE_MODELS)),
            ],
            "mqsa_ted",
            ("sasrec", "gru4rec", "bert4rec", "caser", "fmlp_rec", *more),
        )
        for log, title, which, more, others in (
            ("beauty", "Amazon Beauty", "twenty models", ("fpmc", "lightgcn"), _OTHERS),
            ("toys", "Amazon Toys", "the sequence models", (), ()),
        )
    ),
    Section(
        "beauty-equal-budget",
        "Amazon Beauty: the models of MQSA-TED's paper, 15 epochs each, searched for 8 minutes",
        "beauty",
        "compare",
        [
            *("--data", "beauty", "--seconds", "480", "--against", "mqsa_ted", "--models"),
            "pop,decayed_transitions,sasrec,gru4rec,bert4rec,caser,fpmc,fmlp_rec,lightgcn,mqsa_ted",
            *("train.epochs=15", "train.schedule=cosine", "train.ema=null", "train.patience=15"),
        ],
        "mqsa_ted",
        ("sasrec", "gru4rec", "bert4rec", "caser", "fmlp_rec", "fpmc", "lightgcn"),
        "An epoch of fmlp_rec has an example for each event, and takes longer than an epoch of "
        "sasrec, gru4rec, bert4rec and mqsa_ted, which have a sequence for each user. No trial "
        "begins after 8 minutes, but each trial is completed.",
    ),
    _study(
        "mqsa_ted-query_window",
        "MQSA-TED by the events of a long query",
        "beauty",
        "The paper finds 2 to 4 best.",
    ),
    _study(
        "mqsa_ted-alpha",
        "MQSA-TED by the weight of the short queries",
        "beauty",
        "The paper finds 0.5 best; 1 is SASRec with distillation.",
    ),
    _study(
        "mqsa_ted-distillation",
        "MQSA-TED by the weight of the distillation (0: MQSA)",
        "beauty",
        "The paper finds 0.1 best.",
    ),
    _study(
        "mqsa_ted-temperature",
        "MQSA-TED by the temperature of the distillation",
        "beauty",
        "The paper finds 0.05 to 0.1 best.",
    ),
    _study(
        "mqsa_ted-graph_regularization",
        "MQSA with TED or a graph regularizer",
        "beauty",
        "The paper finds TED, which is the cross entropy, better than both regularizers.",
    ),
    _heat_maps("mqsa_ted", "MQSA-TED: attention of both streams", "beauty", "u10050"),
    *(
        _study(
            f"{model}-distillation",
            f"{name} with and without distillation",
            "beauty",
            "The paper finds that distillation helps other models too.",
        )
        for model, name in (
            ("sasrec", "SASRec"),
            ("fmlp_rec", "FMLP-Rec"),
            ("gru4rec", "GRU4Rec"),
            ("lightgcn", "LightGCN"),
        )
    ),
]
