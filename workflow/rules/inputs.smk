# What rules ask for their inputs, params and resources.


def results_folder(wildcards):
    return str(LAYOUT.results)


def segment_files(name):
    """That file of every segment."""
    return [f"{segment_directory(segment)}/{name}" for segment in PLAN.segments]


def parent_of(wildcards):
    """Records of the segment it continues from, none for a segment that starts from initialisation."""
    parent = PLAN.segments[wildcards.segment].parent
    return ancient(f"{segment_directory(parent)}/state.safetensors") if parent else []


def segment_spec(wildcards):
    return PLAN.segments[wildcards.segment].spec.to_json()


def segment_minutes(wildcards, attempt):
    """A generous guess, more at each attempt, at most a day: a job that runs out of time continues when it is retried."""
    segment = PLAN.segments[wildcards.segment]
    flops_per_second = 3e13 if needs_gpu(segment.n_params) else 1e10
    return min(24 * 60, int(10 + segment.train_flops_exact / flops_per_second / 60) * attempt)


def segment_gpu_share(wildcards):
    """Percent of a GPU that the cell takes: small ones run beside each other."""
    return gpu_share(PLAN.segments[wildcards.segment].n_params)


def segment_gpus(wildcards):
    """For clusters, whose GPUs are given out whole."""
    return min(1, segment_gpu_share(wildcards))


def average_gpu_share(wildcards):
    return gpu_share(PLAN.segments[AVERAGES[wildcards.average].segment].n_params)


def average_gpus(wildcards):
    return min(1, average_gpu_share(wildcards))


def coordinate_check_gpu_share(wildcards):
    return max(gpu_share(param_counts(model).n_params_total) for model in COORDINATES.models)


def coordinate_check_gpus(wildcards):
    return min(1, coordinate_check_gpu_share(wildcards))


def average_spec(wildcards):
    return canonical_json(AVERAGES[wildcards.average].model_dump(mode="json"))


def average_minutes(wildcards, attempt):
    """A generous guess, as for training: every evaluated token costs a third of a trained one."""
    spec = AVERAGES[wildcards.average]
    segment = PLAN.segments[spec.segment]
    tokens = sum(domain.validation_tokens for domain in STUDY.corpus.domains)
    evaluations = len(spec.evaluate_at) * (1 + len(spec.schemes))
    flops = evaluations * tokens * segment.train_flops_exact / segment.tokens / 3
    flops_per_second = 3e13 if needs_gpu(segment.n_params) else 1e10
    return min(24 * 60, int(10 + flops / flops_per_second / 60) * attempt)


def average_mem_mb(wildcards):
    """Two copies of the model, and what evaluation needs."""
    model = PLAN.segments[AVERAGES[wildcards.average].segment].spec.trajectory.model
    return 2000 + 12 * param_counts(model).n_params_total // 1_000_000


def snapshot_files(wildcards):
    """Snapshots of the chain up to the segment. The segments' names say what is in them, so their times do not matter."""
    names = [AVERAGES[wildcards.average].segment]
    while parent := PLAN.segments[names[0]].parent:
        names.insert(0, parent)
    return [ancient(f"{segment_directory(name)}/snapshots.safetensors") for name in names]


def segment_record(wildcards):
    return ancient(f"{segment_directory(AVERAGES[wildcards.average].segment)}/segment.json")


def position_segment(wildcards):
    return PLAN.segments[POSITIONS[wildcards.positions].segment]


def position_spec(wildcards):
    return canonical_json(POSITIONS[wildcards.positions].model_dump(mode="json"))


def position_snapshots(wildcards):
    """Of the segment alone. Its name says what is in them, so their times do not matter."""
    return ancient(f"{segment_directory(POSITIONS[wildcards.positions].segment)}/snapshots.safetensors")


def position_record(wildcards):
    return ancient(f"{segment_directory(POSITIONS[wildcards.positions].segment)}/segment.json")


def position_gpu_share(wildcards):
    return gpu_share(position_segment(wildcards).n_params)


def position_gpus(wildcards):
    return min(1, position_gpu_share(wildcards))


def position_minutes(wildcards, attempt):
    """A generous guess, as for averages."""
    segment = position_segment(wildcards)
    evaluated = len(POSITIONS[wildcards.positions].evaluate_at) * STUDY.corpus.domains[0].validation_tokens
    flops_per_second = 3e13 if needs_gpu(segment.n_params) else 1e10
    flops = evaluated * segment.train_flops_exact / segment.tokens / 3
    return min(24 * 60, int(10 + flops / flops_per_second / 60) * attempt)


def position_mem_mb(wildcards):
    """The model, the loss of every validation token, and what evaluation needs."""
    n_params = param_counts(position_segment(wildcards).spec.trajectory.model).n_params_total
    return 2000 + (6 * n_params + 8 * STUDY.corpus.domains[0].validation_tokens) // 1_000_000


def figure_tables(wildcards):
    return [str(table_path(table, LAYOUT.results)) for table in figure_entry(wildcards.figure).tables]


def figure_category(wildcards):
    """The question that a figure serves."""
    return figure_entry(wildcards.figure).category


def figure_caption(wildcards):
    return figure_entry(wildcards.figure).table.meaning


def figure_code(wildcards):
    """Changing one figure redraws that figure."""
    return digest([code("figure"), source_digest(f"glidepath.figures.{wildcards.figure}")])
