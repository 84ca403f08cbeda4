/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers of avatar-server. */
#pragma once

#include "tools/server/problem.h"

#include <libsoup/soup.h>

G_BEGIN_DECLS

/* Sets what the builder has made as the body. */
void avatar_reply_json (SoupServerMessage *msg, guint status, JsonBuilder *builder);
/* Answers {"error": ...} and frees @problem. */
void avatar_reply_problem (SoupServerMessage *msg, AvatarProblem *problem);
void avatar_reply_bytes (SoupServerMessage *msg, const char *type, GBytes *bytes);
void avatar_reply_text (SoupServerMessage *msg, const char *text);

G_END_DECLS
