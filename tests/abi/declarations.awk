# SPDX-License-Identifier: LGPL-2.1-or-later
# Prints what public headers declare, one declaration a line:
#   struct NAME MEMBER...     enum NAME VALUE...     type NAME     macro NAME
#   function NAME RETURNS PARAMETER...     callback NAME RETURNS PARAMETER...
# RETURNS is "void" or "value". Headers are in the style of this tree: "typedef struct _NAME NAME;",
# "struct _NAME {...};" and AVATAR_API before each function.
function last_name (text)
{
  sub (/[ \t]*[\[=].*$/, "", text)
  sub (/[ \t]+$/, "", text)
  match (text, /[A-Za-z_0-9]+$/)
  return substr (text, RSTART, RLENGTH)
}
function names (text, separator,    n, i, parts, out)
{
  n = split (text, parts, separator)
  for (i = 1; i <= n; i++)
    if (parts[i] ~ /[A-Za-z]/ && parts[i] !~ /^[ \t]*void[ \t]*$/)
      out = out " " last_name(parts[i])
  return out
}
function members (text,    n, i, parts, out)
{
  n = split (text, parts, ";")
  for (i = 1; i <= n; i++)
    out = out names(parts[i], ",")
  return out
}
function function_of (text,    head, parameters)
{
  head = text
  sub (/[ \t]*\([^()]*\)[ \t]*$/, "", head)
  match (text, /\([^()]*\)[ \t]*$/)
  parameters = substr (text, RSTART + 1, RLENGTH - 2)
  sub (/\)[ \t]*$/, "", parameters)
  return last_name(head) " " (head ~ /^[ \t]*void[ \t]+[A-Za-z_0-9]+$/ ? "void" : "value") \
    names(parameters, ",")
}
function declare (text,    name)
{
  gsub (/[ \t]+/, " ", text); sub (/^ /, "", text); sub (/ $/, "", text)
  if (text ~ /^(struct _|typedef enum )[A-Za-z_0-9]* ?\{/) {
    kind = text ~ /^struct/ ? "struct" : "enum"
    name = text
    if (kind == "struct") sub (/ ?\{.*/, "", name)
    else sub (/^.*\}/, "", name)
    name = last_name(name); sub (/^_/, "", name)
    sub (/^[^{]*\{/, "", text); sub (/\}[^}]*$/, "", text)
    print kind " " name (kind == "struct" ? members(text) : names(text, ","))
  } else if (text ~ /^typedef struct _/) {
    print "type " last_name(text)
  } else if (match (text, /^typedef .*\(\*[A-Za-z_0-9]+\) \(/)) {
    sub (/^typedef /, "", text); sub (/\(\*/, "", text); sub (/\) \(/, " (", text)
    print "callback " function_of(text)
  } else if (text ~ /^AVATAR_API /) {
    sub (/^AVATAR_API /, "", text)
    print "function " function_of(text)
  }
}
FNR == 1 { text = ""; depth = 0; comment = 0 }
{
  line = $0
  gsub (/\/\*([^*]|\*+[^*\/])*\*+\//, "", line)
  if (comment) {
    if (!sub (/^.*\*\//, "", line)) next
    comment = 0
  }
  if (sub (/\/\*.*$/, "", line)) comment = 1
  if (macro) { macro = line ~ /\\$/; next }
  if (line ~ /^#/) {
    if (match (line, /^#define [A-Z_0-9]+/)) print "macro " substr (line, 9, RLENGTH - 8)
    macro = line ~ /\\$/
    next
  }
  if (line ~ /^G_(BEGIN|END)_DECLS$/ || line ~ /^G_DEFINE_/) next
  for (i = 1; i <= length (line); i++) {
    c = substr (line, i, 1)
    if (c == "{") depth++
    if (c == "}") depth--
    if (c == ";" && depth == 0) { declare(text); text = "" } else text = text c
  }
  text = text " "
}
