# SPDX-License-Identifier: LGPL-2.1-or-later
# Prints "FILE:LINE NAME RULE" for prototypes that read badly where they are called:
#   boolean      a parameter of type gboolean, in headers
#   parameters   10 or more parameters, in headers and in definitions of C files
# A pointer to a function counts as a prototype.
function check_statement (text, line,    name, list, depth, i, c, n, head) {
  gsub (/[ \t]+/, " ", text)
  gsub (/ ?(G_GNUC_[A-Z_]+|__attribute__) ?\(\(?[^()]*\)?\)/, "", text)
  if (text ~ /^ ?(typedef )?(return|else|if|for|while|switch|case)[^a-z_]/ || text ~ /^[^(]*=/) return
  if (match (text, /^[^(]*\( ?\* ?[A-Za-z_0-9]+(\[[^]]*\])?\) ?\(/)) {
    head = substr (text, RSTART, RLENGTH)
    list = substr (text, RSTART + RLENGTH)
    name = head; sub (/^[^(]*/, "", name); gsub (/\[.*|[^A-Za-z_0-9]/, "", name)
  } else if (depth_of_braces == 0 && match (text, /^[^(]*[A-Za-z_0-9*]+[ *]+[A-Za-z_0-9]+ ?\(/)) {
    head = substr (text, RSTART, RLENGTH)
    list = substr (text, RSTART + RLENGTH)
    sub (/ ?\($/, "", head); name = head; sub (/.*[ *]/, "", name)
  } else
    return
  depth = 1; n = 1; flag = 0
  for (i = 1; i <= length (list) && depth > 0; i++) {
    c = substr (list, i, 1)
    if (c == "(") depth++
    else if (c == ")") depth--
    else if (c == "," && depth == 1) n++
  }
  list = substr (list, 1, i - 2)
  if (header && (" " list) ~ /[ ,(]gboolean +[A-Za-z_]/) print FILENAME ":" line, name, "boolean"
  if (n >= 10) print FILENAME ":" line, name, "parameters"
}

FNR == 1 { header = FILENAME ~ /\.h$/; comment = 0; statement = ""; depth_of_braces = 0; started = 0 }

{
  rest = $0
  gsub (/"([^"\\]|\\.)*"/, "\"\"", rest)
  gsub (/\x27([^\x27\\]|\\.)\x27/, "0", rest)
  if (comment) {
    if (!sub (/^.*\*\//, "", rest)) next
    comment = 0
  }
  gsub (/\/\*([^*]|\*+[^*\/])*\*+\//, "", rest)
  sub (/\/\/.*/, "", rest)
  if (sub (/\/\*.*/, "", rest)) comment = 1
  if (continued || rest ~ /^[ \t]*#/) { continued = rest ~ /\\$/; next }
  if (rest ~ /^(G_BEGIN_DECLS|G_END_DECLS|extern "" \{?)[ \t]*$/) next
  while (rest != "") {
    if (!match (rest, /[;{}]/)) {
      if (statement == "") { sub (/^[ \t]+/, "", rest); start = FNR }
      statement = statement (statement == "" ? "" : " ") rest
      break
    }
    c = substr (rest, RSTART, 1)
    if (statement == "") start = FNR
    statement = statement " " substr (rest, 1, RSTART - 1)
    rest = substr (rest, RSTART + 1)
    sub (/^ +/, "", statement)
    if (statement != "" && (header || (c == "{" && depth_of_braces == 0)))
      if (c == ";" || depth_of_braces == 0) check_statement(statement, start)
    if (c == "{") depth_of_braces++
    if (c == "}" && depth_of_braces > 0) depth_of_braces--
    statement = ""
  }
}
