# minima.json in, the Markdown table out. $memory and $bare are peaks of memory, in MiB.

# The rows in order: what it is; its limit beside bare node; or another time beside this one, and the limit of that; or its
# limit in milliseconds.
def rows: [
  ["node", "`node -e 0`"],
  ["version", "`pipework --version`", 1.3],
  ["attach", "attach: existing bridge, address and gateway, `--no-probe`", 2.5],
  ["probe", "the same with the probe, as it is by default"],
  ["again", "the same once more: nothing to do"],
  ["attach-ovs", "the first of these where Open vSwitch runs, whose daemon looks at each change of a link"],
  ["disconnect", "`pipework disconnect`"],
  ["ovs-disconnect", "the same where Open vSwitch runs, which is asked whether it has the port"],
  ["ls", "`pipework ls`, 50 containers attached", 2.5],
  ["ls-netns", "`pipework ls`, 50 namespaces of `ip netns` attached", 2.5],
  ["tab", "TAB at the first word: interfaces and commands", 1.6],
  ["tab-ovs", "the same where Open vSwitch runs, which is asked for its bridges"],
  ["tab-option", "TAB at an option", 1.6],
  ["tab-address", "TAB at an address: the next free one", 1.6],
  ["tab-guest", "TAB at a guest: the names of containers", 2.2],
  ["crowd", "attach with 500 other veths on the bridge", null, { this: "crowd", than: "attach", limit: 1.2 }],
  ["batches", "the attach's `ip` lines alone, in two `ip -batch`"],
  ["original", "the shell original", null, { this: "attach", than: "original", limit: 0.08 }],
  ["silent-original", "the shell original without its arping", null, { this: "attach", than: "silent-original", limit: 0.75 }],
  ["nic", "attach to a NIC: macvlan"],
  ["nic-original", "the shell original without its arping, the same", null, { this: "nic", than: "nic-original", limit: null }],
  ["ovs", "attach to a bridge of Open vSwitch, userspace datapath"],
  ["ovs-original", "the shell original without its arping, the same", null, { this: "ovs", than: "ovs-original", limit: null }],
  ["connect", "`docker network connect`"],
  ["fleet-up", "`pipework up`, 100 containers", null, { this: "fleet-up", than: "fleet-batches", limit: 1.5 }],
  ["fleet-again", "the same once more: nothing to do", null, null, 1000],
  ["fleet-batches", "their `ip` lines alone, in two `ip -batch` for each"],
  ["fleet-original", "100 runs of the shell original without its arping"]
];

def round($digits): pow(10; $digits) as $unit | . * $unit | round / $unit;

# 1 as 1.00: digits after the point that say how exact the number is.
def fixed($digits):
  round($digits) | tostring | (index(".") // length) as $point
  | if $digits == 0 then . elif $point == length then . + "." + "0" * $digits
    else . + ("0" * ($digits - (length - $point - 1)) // "") end;

def verdict($value; $limit): if $limit == null then "" elif $value <= $limit then "ok" else "**over**" end;

. as $by
| "| command | least time, ms | × bare node | beside another | limit | |",
  "| --- | ---: | ---: | --- | --- | --- |",
  (rows[] as [$key, $title, $limit, $other, $most]
  | select($by[$key])
  | ($by[$key].ms / $by.node.ms) as $ratio
  | (if $other then $by[$other.this].ms / $by[$other.than].ms else null end) as $beside
  | [
      $title,
      if $by[$key].failed then "failed" else $by[$key].ms | fixed(1) end,
      ($ratio | fixed(2)),
      if $other == null then ""
        elif $key == "fleet-up" then "\($beside | fixed(2)) of their `ip` lines"
        elif $other.this == $key then "\($beside | fixed(2)) of one without"
        else "an attach takes \($beside | fixed(3)) of it" end,
      if $other.limit then "≤ \($other.limit)" elif $limit then "≤ \($limit) × node"
        elif $most then "≤ \($most) ms" else "" end,
      if $by[$key].failed then "" elif $other then verdict($beside; $other.limit)
        elif $most then verdict($by[$key].ms; $most) else verdict($ratio; $limit) end
    ]
  | "| \(join(" | ")) |"),
  "",
  "Most memory of one attach: \($memory) MiB (bare node: \($bare) MiB); limit 80: \(verdict($memory; 80))."
