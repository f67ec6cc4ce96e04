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
    segment = AVERAGES[wildcards.average].segments[0]
    return gpu_share(PLAN.segments[segment].n_params)


def average_gpus(wildcards):
    return min(1, average_gpu_share(wildcards))


def coordinate_check_gpu_share(wildcards):
    return max(gpu_share(param_counts(model).n_params_total) for model in COORDINATES.models)


def coordinate_check_gpus(wildcards):
    return min(1, coordinate_check_gpu_share(wildcards))


def average_spec(wildcards):
    return canonical_json(AVERAGES[wildcards.average].model_dump(mode="json"))


def snapshot_files(wildcards):
    """Snapshots of the chain up to the segment. The segments' names say what is in them, so their times do not matter."""
    segments = AVERAGES[wildcards.average].segments
    return [ancient(f"{segment_directory(segment)}/snapshots.safetensors") for segment in segments]


def segment_record(wildcards):
    return ancient(f"{segment_directory(AVERAGES[wildcards.average].segments[-1])}/segment.json")


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
