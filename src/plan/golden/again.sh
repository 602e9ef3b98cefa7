#!/bin/sh
# pipework br1 netns:blue 10.0.0.2/24@10.0.0.1,fd00::2/64@fd00::1
# given: sh src/plan/golden/fresh-both.sh
set -eu
# nothing to do
