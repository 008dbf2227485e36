"""From bundles of linked seeds to new QA: prompts, requests, answers, the data set, enhancement."""
