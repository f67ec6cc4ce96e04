# Text to tokens, once per corpus: the directory is named by the content, so all studies share it.


rule tokenize:
    output:
        manifest=f"{LAYOUT.corpus}/manifest.json",
        tokens=[f"{LAYOUT.corpus}/train.bin", f"{LAYOUT.corpus}/train_documents.npy"],
        validation=[f"{LAYOUT.corpus}/validation-{domain.name}.bin" for domain in STUDY.corpus.domains],
        tokenizer=f"{LAYOUT.corpus}/tokenizer.json",
        files=f"{LAYOUT.corpus}/files.parquet",
    log:
        f"logs/tokenize/{CORPUS_ID}.log",
    cache: True
    threads: 2
    resources:
        mem_mb=3000,
        runtime="4h",
    params:
        corpus=canonical_json(STUDY.corpus.model_dump(mode="json")),
    shell:
        "glidepath tokenize --corpus {params.corpus:q} --base . --output $(dirname {output.manifest})"
        " --workers {threads} > {log} 2>&1"
