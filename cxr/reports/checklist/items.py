"""The items of the checklists: what each asks for in our own words, what fills it, and what the author must add.

Sources: Tejani et al. 2024, "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update"
(Radiology: Artificial Intelligence 6(4), 44 items); Collins et al. 2024, "TRIPOD+AI statement" (BMJ 385:e078378, 27
items); Mitchell et al. 2019, "Model Cards for Model Reporting" (9 sections).
"""

from __future__ import annotations

from dataclasses import dataclass

CLAIM, TRIPOD, MODEL_CARD = "CLAIM 2024", "TRIPOD+AI", "Model card"


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Attributes
    ----------
    checklist, number, section
        Where it stands.
    asks
        What it asks for.
    topics
        What fills it, names of :data:`cxr.reports.checklist.topics.TOPICS`; none where no tool can know it.
    author
        What only the author knows, "" where the topics are all.
    """

    checklist: str
    number: str
    section: str
    asks: str
    topics: tuple[str, ...] = ()
    author: str = ""


def _items(checklist: str, rows: str) -> tuple[Item, ...]:
    """Return the items of a table: ``number | section | asks | topics | author`` in each line."""
    items = []
    for row in rows.strip().splitlines():
        number, section, asks, topics, author = (cell.strip() for cell in row.split("|"))
        items.append(Item(checklist, number, section, asks, tuple(topics.split()), author))
    return tuple(items)


CLAIM_ITEMS = _items(
    CLAIM,
    """
1 | Title and abstract | Says that it is a study of AI, and of which kind | technology | the title
2 | Title and abstract | Structured summary of design, methods, results and conclusions | | the abstract
3 | Introduction | Background, intended use and role of the method | intended_use | the clinical background
4 | Introduction | Aims, objectives and hypotheses | | the aims
5 | Study design | Prospective or retrospective | | how the X-rays were collected over time
6 | Study design | Goal of the study | technology | whether it is a feasibility study, a comparison or a test
7 | Data | Sources of the data | sources | where the sources got them from, and when
8 | Data | Inclusion and exclusion criteria | exclusions | the criteria that applied before the import
9 | Data | Pre-processing | preprocessing |
10 | Data | Selection of parts of the data | subsets |
11 | Data | De-identification | | how the data were de-identified
12 | Data | How missing data were handled | missing |
13 | Data | Image acquisition | acquisition | devices and protocols that the files do not name
14 | Reference standard | How the reference was obtained | labels | the clinical definition of each class
15 | Reference standard | Why this reference was chosen | | the reason
16 | Reference standard | Who annotated | | the annotators and their experience
17 | Reference standard | How the test set was annotated | | whether it was annotated in another way than the rest
18 | Reference standard | Agreement within and between annotators | | the agreement
19 | Data partitions | How X-rays were assigned to splits | partitions |
20 | Data partitions | At which level splits are disjoint | disjoint |
21 | Testing data | Intended sample size | sizes | why this number suffices
22 | Model | Description of the model: input, output, layers | model |
23 | Model | Software, with versions | software |
24 | Model | Initial weights | initial_weights |
25 | Training | How it was trained: augmentation, hyperparameters | training |
26 | Training | How the final model was selected | final_model |
27 | Training | Ensembles | ensemble |
28 | Evaluation | Metrics | metrics |
29 | Evaluation | Significance and uncertainty | uncertainty |
30 | Evaluation | Robustness and sensitivity | robustness |
31 | Evaluation | Explainability, and how it was validated | explainability |
32 | Evaluation | Evaluation on internal data | internal |
33 | Evaluation | Testing on external data | external |
34 | Evaluation | Registration of a clinical trial | | the registration, or that there is none
35 | Results | Numbers of patients and X-rays included and excluded | sizes exclusions |
36 | Results | Demographic and clinical characteristics of each split | demographics | clinical characteristics
37 | Results | Performance with uncertainty | internal external |
38 | Results | Diagnostic performance and its precision, by class | by_class |
39 | Results | Analysis of wrongly classified X-rays | failures | a reading of those X-rays by an expert
40 | Discussion | Limitations | limitations | limitations of the study itself
41 | Discussion | What it means for practice | intended_use | what it means
42 | Other | Where the full protocol is | protocol | the study's protocol
43 | Other | Availability of software, model and data | availability | where they are published
44 | Other | Funding and the role of the funders | | the funding
""",
)

TRIPOD_ITEMS = _items(
    TRIPOD,
    """
1 | Title | Says what is predicted, for whom, and that a model is developed or evaluated | technology | the title
2 | Abstract | Structured abstract | | the abstract
3a | Introduction | Health care context and reason for the model | | the context
3b | Introduction | Target population, purpose and users | intended_use | the target population
3c | Introduction | Known inequalities between groups | | what is known of them
4 | Introduction | Objectives | | the objectives
5a | Data | Sources of development and evaluation data | sources | how representative they are
5b | Data | Dates of the data | | first and last date of the X-rays
6a | Participants | Setting and centres | sources | the centres
6b | Participants | Eligibility | exclusions | the criteria that applied before the import
6c | Participants | Treatments received | | treatments, if they matter
7 | Data preparation | Pre-processing and quality checks | preprocessing quality |
8a | Outcome | Definition of the outcome and how it was assessed | labels | the clinical definition
8b | Outcome | Qualification of those who assessed it | | who assessed it
8c | Outcome | Blinding of the assessment | | whether it was blind
9 | Predictors | What goes into the model | preprocessing model |
10 | Sample size | How it was arrived at, for development and evaluation | sizes | why it suffices
11 | Missing data | How they were handled | missing |
12a | Analysis | How the data were used | partitions disjoint |
12b | Analysis | How predictors were handled | preprocessing |
12c | Analysis | Type of model, tuning, internal validation | model training final_model |
12d | Analysis | Differences between clusters such as hospitals | slices |
12e | Analysis | Measures of performance, and how models were compared | metrics uncertainty |
12f | Analysis | Updating of the model | updating |
12g | Analysis | How predictions are computed | model thresholds |
13 | Class imbalance | Methods against it, and recalibration | imbalance |
14 | Fairness | Methods and their reason | slices | the reason for the groups
15 | Model output | What the output is, and thresholds | thresholds |
16 | Training against evaluation | Differences between development and evaluation data | differences |
17 | Ethics | Approval and consent | | the approval
18a | Open science | Funding | | the funding
18b | Open science | Conflicts of interest | | conflicts
18c | Open science | Protocol | protocol | the study's protocol
18d | Open science | Registration | | the registration
18e | Open science | Availability of the data | availability | where the data are
18f | Open science | Availability of the code | software availability |
19 | Patient involvement | Patients and public in design or conduct | | their involvement
20a | Results | Flow of participants and outcomes | sizes exclusions |
20b | Results | Characteristics overall and by source | demographics | clinical characteristics
20c | Results | Evaluation data compared with development data | differences |
21 | Results | Numbers of participants and outcomes in each analysis | sizes |
22 | Results | The full model, so that others can predict | model availability |
23a | Results | Performance with intervals, also of key groups | internal external by_class slices |
23b | Results | Heterogeneity between clusters | slices |
24 | Results | Results of updating | updating |
25 | Discussion | Interpretation, with fairness and earlier studies | | the interpretation
26 | Discussion | Limitations | limitations | limitations of the study itself
27a | Usability | What to do with poor or missing input | missing_input | how it is handled in use
27b | Usability | What users must do and know | intended_use | expertise that is needed
27c | Usability | Next steps | | the next steps
""",
)

CARD_ITEMS = _items(
    MODEL_CARD,
    """
1 | Model details | Who made it, when, version, kind, licence | technology model availability | person or organisation
2 | Intended use | Uses, users, uses out of scope | intended_use | users
3 | Factors | Groups, instruments and environments | slices acquisition |
4 | Metrics | Measures, thresholds, how variation is estimated | metrics thresholds uncertainty |
5 | Evaluation data | Data, why these, pre-processing | sources partitions preprocessing | why these data
6 | Training data | The same of the training data | sources training |
7 | Quantitative analyses | Results overall and by group | internal external by_class slices |
8 | Ethical considerations | Sensitive data, risks and harms | | risks and harms
9 | Caveats and recommendations | Anything else | limitations robustness |
""",
)

ITEMS = (*CLAIM_ITEMS, *TRIPOD_ITEMS, *CARD_ITEMS)
"""All items, in their order."""
