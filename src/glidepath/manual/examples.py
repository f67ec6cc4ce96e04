"""One example per section of a study, of checkpoints and of imported runs, for the manual."""

from __future__ import annotations

EXAMPLES = {
    "StudyConfig": """\
        study: mine
        description: Which schedule for a decoder of a million parameters?
        tokens_per_parameter_uses: non_embedding
        """,
    "CorpusConfig": """\
        corpus:
          domains:
            - {name: python, source: {kind: python_environment}, max_bytes: 16000000, validation_fraction: 0.05}
            - {name: c, use: validation, source: {kind: c_headers}, validation_tokens: 8192}
          tokenizer: {kind: train_bpe, vocab_size: 512}
        """,
    "Domain": """\
        - name: notes
          source: {kind: files, paths: ['data/notes/*.txt']}
          validation_fraction: 0.05
          validation_tokens: 65536
        """,
    "PythonEnvironment": "source: {kind: python_environment}",
    "CHeaders": "source: {kind: c_headers}",
    "Files": """\
        source: {kind: files, paths: ['data/train/**/*.jsonl'], validation_paths: ['data/held_out.jsonl']}
        """,
    "HuggingFace": """\
        source: {kind: huggingface, name: HuggingFaceFW/fineweb-edu, config: sample-10BT}
        """,
    "TrainBPE": "tokenizer: {kind: train_bpe, vocab_size: 4096, train_bytes: 10000000}",
    "TokenizerFile": "tokenizer: {kind: file, path: data/tokenizer.json, end_of_document: <|endoftext|>}",
    "TokenizerHub": "tokenizer: {kind: hub, id: openai-community/gpt2, vocab_size: 50257}",
    "ModelConfig": """\
        models:
          d48: {depth: 2, width: 48, head_width: 24}
          d96: {depth: 3, width: 96, head_width: 24, qk_norm: true}
        """,
    "Constant": """\
        schedules:
          constant: {kind: constant}
          schedule_free: {kind: schedule_free}
        """,
    "LinearRamp": "batch: {kind: linear, start_fraction: 0.125, multiple_of: 2}",
    "Stages": "batch: {kind: stages, milestones: [0.2, 0.5], batch_fractions: [0.25, 0.5]}",
    "Decay": """\
        schedules:
          linear_0: {kind: linear, final_lr_fraction: 0}
          cosine_10: {kind: cosine, final_lr_fraction: 0.1}
          square_root_tail: {kind: polynomial, exponent: 1.5, final_lr_fraction: 0}
          rex_in_ten_steps: {kind: rex, final_lr_fraction: 0, refreshes: 10}
        """,
    "WSD": """\
        schedules:
          wsd_sqrt: {kind: wsd, final_lr_fraction: 0, decay_fraction: 0.2, decay_shape: one_minus_sqrt}
          wsd_power: {kind: wsd, final_lr_fraction: 0, decay_fraction: 0.2, decay_shape: power, decay_exponent: 1.5}
        """,
    "WSDS": """\
        schedules:
          wsd_s: {kind: wsd_s, ends: [0.25, 0.5], decay_fraction: 0.1, decay_shape: linear, final_lr_fraction: 0}
        """,
    "Step": """\
        schedules:
          thirds: {kind: step, milestones: [0.3, 0.6, 0.9], lr_fractions: [0.1, 0.01, 0.001]}
          halves: {kind: step, milestones: [0.5, 0.75], lr_fractions: [0.1, 0.01]}
          eighty_ten_ten: {kind: step, milestones: [0.8, 0.9], lr_fractions: [0.316, 0.1]}
          one_drop: {kind: step, milestones: [0.9], lr_fractions: [0.001]}
        """,
    "HorizonFree": """\
        schedules:
          inverse_sqrt: {kind: inverse_sqrt, min_lr_fraction: 0.1}
          rational: {kind: rational}
        """,
    "Cyclic": """\
        schedules:
          triangles: {kind: cyclic, cycles: 3, cycle_shape: linear, final_lr_fraction: 0.1, restart: false}
          sgdr: {kind: cyclic, cycles: 3, cycle_shape: cosine, final_lr_fraction: 0, restart: true}
        """,
    "OneCycle": """\
        schedules:
          one_cycle:
            kind: one_cycle
            cycle_shape: cosine
            rise_fraction: 0.3
            initial_lr_fraction: 0.04
            final_lr_fraction: 0
            adam_beta1_at_peak: 0.85
        """,
    "Plateau": """\
        schedules:
          plateau: {kind: plateau, factor: 0.3, patience: 2, evaluate_every_updates: 50}
        """,
    "Points": """\
        schedules:
          by_hand: {kind: points, unit: fraction, interpolation: linear, points: [[0, 0.01], [0.1, 1], [1, 0.05]]}
        """,
    "SegmentsConfig": "segments: {max_updates: 20000}",
    "WarmupConfig": "warmup: {steps: 10}",
    "OptimizerConfig": "optimizer: {adam_beta2: 0.99, weight_decay: 0.05}",
    "GridConfig": """\
        grid:
          - models: [d48]
            schedules: [constant, linear_0]
            peak_lrs: [0.004, 0.008, 0.016]
            tokens_per_parameter: [5, 20]
            replicates: [0, 1]
        """,
    "BatchLrConfig": "batch_lr: {rule: sqrt, at_batch_sequences: 8}",
    "EvaluationConfig": "evaluation: {points_per_octave: 2, subset_tokens: 16384}",
    "LoggingConfig": "logging: {every_updates: 16}",
    "AveragingConfig": """\
        averaging:
          schedules: [constant]
          schemes:
            window_20: {kind: window, fraction: 0.2}
            like_sqrt_20: {kind: emulated_decay, fraction: 0.2, shape: one_minus_sqrt}
        """,
    "SnapshotGrid": "snapshots: {first_update: 64, per_octave: 32}",
    "WindowScheme": """\
        schemes:
          window_20: {kind: window, fraction: 0.2}
          five_of_20: {kind: window, fraction: 0.2, checkpoints: 5}
        """,
    "LawaScheme": """\
        schemes:
          lawa_5: {kind: lawa, checkpoints: 5, every_updates: 64}
          lawa_5_disjoint: {kind: lawa, checkpoints: 5, every_updates: 64, groups: disjoint}
        """,
    "EmaScheme": "schemes: {ema_5: {kind: ema, timescale_fraction: 0.05}}",
    "SwaScheme": """\
        schemes:
          since_start: {kind: swa, start_tokens_per_parameter: 0}
          late: {kind: swa, start_tokens_per_parameter: 60}
        """,
    "EmulatedDecayScheme": "schemes: {like_linear_20: {kind: emulated_decay, fraction: 0.2, shape: linear}}",
    "SpikesConfig": "spikes: {clean: constant, spiked: [jump_4, jump_8], window_fraction: 0.2}",
    "TemporalConfig": "temporal: {schedules: [constant], points_per_octave: 4}",
    "NoiseScaleConfig": "noise_scale: {schedules: [constant], every_updates: 16}",
    "CoordinateCheckConfig": """\
        coordinate_check: {model: d48, widths: [48, 96, 192], depths: [2, 4, 8], peak_lr: 0.004}
        """,
    "AnalysisConfig": "analysis: {reference_schedule: linear_0, ci_level: 0.9}",
    "TargetConfig": "target: {model: d96, tokens_per_parameter: 160, batch_sequences: 8}",
    "CheckpointsConfig": """\
        checkpoints: mine
        context_length: 2048
        schemes: {lawa_5: {kind: lawa, checkpoints: 5, every_updates: 1000}}
        points_every: 2
        """,
    "ValidationCorpus": """\
        corpus:
          domains:
            - {name: held_out, use: validation, source: {kind: files, paths: [data/held_out.jsonl]}}
          tokenizer: {kind: file, path: runs/mine/checkpoint-1000/tokenizer.json}
        """,
    "TrajectoryConfig": """\
        trajectories:
          mine:
            source: {kind: directories, pattern: "runs/mine/checkpoint-{updates}"}
            tokens_per_update: 524288
            n_params: 124000000
        """,
    "HubCheckpoints": """\
        source:
          kind: huggingface
          repository: EleutherAI/pythia-1b
          revisions: {template: "step{updates}", first: 1000, last: 143000, every: 1000}
        """,
    "RevisionRange": 'revisions: {template: "step{updates}", first: 1000, last: 143000, every: 1000}',
    "Revision": "listed: [{revision: step1000, updates: 1000}, {revision: main, updates: 143000}]",
    "DirectoryCheckpoints": 'source: {kind: directories, pattern: "runs/mine/checkpoint-{updates}"}',
    "ImportConfig": """\
        imports: mine
        description: Our runs of spring.
        tokens_per_parameter_uses: non_embedding
        holdout: ["400M_*", "*_72000"]
        """,
    "TableSource": """\
        sources:
          - name: history
            format: csv
            paths: [logs/*/history.csv]
            run: {kind: directory}
            columns: {step: iteration, train_loss: loss, val_loss: eval loss, lr: learning rate}
            step_counts: zero_based
          - name: sweep
            format: parquet
            paths: [sweep.parquet]
            rows: runs
            run: {kind: row}
            columns: {n_params_non_embedding: N, token_horizon: D, batch_tokens: bs, peak_lr: lr, val_loss: loss}
            units: {n_params_non_embedding: millions, token_horizon: billions, batch_tokens: sequences}
            where: {diverged: false}
        """,
    "WandbSource": """\
        sources:
          - name: wandb
            format: wandb
            paths: ["exports/*/history.jsonl"]
            run: {kind: directory}
            columns: {step: _step, train_loss: train/loss, n_params_total: config.n_params}
            beside: {config: config.json}
        """,
    "TextLogSource": """\
        sources:
          - name: megatron
            format: text_log
            preset: megatron
            paths: [logs/*.log]
            run: {kind: file}
            columns: {step: iteration, lr: learning rate, train_loss: lm loss, val_loss: validation lm loss}
          - name: own
            format: text_log
            patterns: ['step (?P<step>\\d+)/\\d+ val_loss:(?P<val>\\S+)']
            paths: [logs/*.txt]
            run: {kind: file}
            columns: {step: step, val_loss: val}
        """,
    "RunByColumns": "run: {kind: columns, columns: [model, curve]}",
    "RunByFile": "run: {kind: file}",
    "RunByPath": "run: {kind: path, pattern: 'runs/(?P<size>[^/]+)/(?P<run>[^/]+)/log.txt'}",
    "LrKnown": "lr: {kind: schedule}",
    "LrTable": "lr: {kind: table, path: schedules.parquet, of: {schedule: curve}}",
    "RunFacts": """\
        runs:
          - {match: "*", context_length: 4096, batch_tokens: 524288, peak_lr: 3.0e-4}
          - {regex: "(?P<model>[0-9]+M)/(?P<schedule>.+)"}
          - {match: "25M/*", n_params_non_embedding: 25000000}
          - {match: "25M/test", excluded: a trial}
        """,
    "ImportAnalysisConfig": "analysis: {reference_schedule: cosine, pool_batches: true}",
    "ImportTargetConfig": "target: {n_params: 7.0e+9, token_horizon: 1.4e+11}",
    "Directory": "listed: [{path: runs/mine/early, updates: 1000}, {path: runs/mine/final, updates: 20000}]",
}
"""One example per section, by the name of its model."""
