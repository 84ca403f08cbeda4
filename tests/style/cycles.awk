# SPDX-License-Identifier: LGPL-2.1-or-later
# Prints "USER USED" for dependencies between C files: a .c file uses the .c files that define the
# functions it names (avatar_..., gst_avatar_...), a header uses the headers it includes. Each file
# is read twice: first for its definitions, then for its uses.
FNR == 1 { seen[FILENAME]++; header = FILENAME ~ /\.h$/; comment = 0; before = "" }

# Finds definitions: the name begins a line, the previous line is not "static", no ';' follows.
seen[FILENAME] == 1 {
  if (pending != "" && /^{/ && pending_file == FILENAME)
    defined[pending] = FILENAME
  if (/;[ \t]*$/ || /^{/)
    pending = ""
  if (!header && /^(gst_)?avatar_[a-z0-9_]+ \(/ && before !~ /static/ && !/;[ \t]*$/) {
    pending = $1
    pending_file = FILENAME
  }
  before = $0
  next
}

header {
  if (match($0, /^#[ \t]*include "[^"]*"/)) {
    split($0, part, "\"")
    print FILENAME, part[2]
  }
  next
}

# Removes comments and strings, which may contain names of functions.
{
  line = $0
  gsub(/"([^"\\]|\\.)*"/, "", line)
  if (comment && !sub(/^.*\*\//, "", line))
    next
  comment = 0
  gsub(/\/\*([^*]|\*[^\/])*\*\//, "", line)
  if (sub(/\/\*.*$/, "", line))
    comment = 1
  while (match(line, /(gst_)?avatar_[a-z0-9_]+/)) {
    name = substr(line, RSTART, RLENGTH)
    line = substr(line, RSTART + RLENGTH)
    if (name in defined && defined[name] != FILENAME)
      print FILENAME, defined[name]
  }
}
