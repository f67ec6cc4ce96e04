# What a study shows while it runs: its cost before the first job, then how far it is.


def start_service():
    """The warm server and the progress display."""
    if SERVICE or workflow.remote_exec:
        return
    conditions = Conditions(cores=workflow.cores or 1, threads=1, warm=runs_warm(), gpu=gpu_here())
    print(described(budget(STUDY, PLAN, conditions, read_speeds(kept_file()), Path.cwd())), file=sys.stderr)
    start_server("glidepath.stages.train", "glidepath.stages.average")
    watched = Path("scratch") / f"progress-{STUDY.study}.json"
    watched.write_text(canonical_json(watch_list()))
    launch(["-m", "glidepath", "progress", "--watch", str(watched), "--parent", str(os.getpid())])


def watch_list():
    """What the progress display needs: each training job with its FLOPs, and all other deliverables."""
    return {
        "study": STUDY.study,
        "cores": workflow.cores or 1,
        "segments": {
            name: {"flops": segment.train_flops_exact, "updates": segment.spec.stop - segment.spec.start}
            for name, segment in PLAN.segments.items()
        },
        "averages": [f"store/averages/{average}/block_losses.parquet" for average in AVERAGES],
        "results": [str(path) for path in FINAL_FILES],
    }


onstart:
    start_service()
