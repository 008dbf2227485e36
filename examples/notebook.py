"""linksyn-gpu from Python, cell by cell; docs/notebook.md explains the interface."""

# %% Seeds
import json
from pathlib import Path

from linksyn_gpu import QuotaConfig, Seeds, Walker, build_graph, link_seeds, open_run, synthesize

lines = (Path(__file__).parent / "seeds.jsonl").read_text(encoding="utf-8").splitlines()
seeds = Seeds.from_records(map(json.loads, lines))
print(seeds, "first:", seeds[0]["question"])

# %% The graph of knowledge points
graph = build_graph(seeds, min_count=1)
name = graph.names[0]
print(graph, name, graph.neighbors(name))
degrees = graph.to_scipy().sum(axis=1)

# %% Paths with quotas
quota = QuotaConfig(discipline={"law": 1, "physics": 3})
paths = Walker(graph, length=3, distinct=True, seed=7, quota=quota).sample(40)
print(paths, [(cell.label, cell.n_paths) for cell in paths.cells])
print(paths.to_arrow(graph).slice(0, 2).to_pylist())

# %% Bundles: the seeds linked along each path
bundles = link_seeds(paths, graph, seeds, min_seeds=2)
print(bundles, bundles.to_arrow().column("seed_ids")[0])

# %% New QA. Engine 'batch' only writes the requests; with engine="openai", base_url=... a server answers them.
done = synthesize(bundles, engine="batch", model="MODEL", per_path=2)
print(done, done.counts["synthesize"]["pending"], "requests pending in", done.folder)

# %% The same folder again, later
later = open_run(done.folder)
print(later.paths.num_rows, "paths;", later.qa.num_rows, "QA;", later.dropped.num_rows, "dropped")
