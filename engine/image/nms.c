/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Non-maximum suppression as in upstream's non_max_suppression_face() and torchvision's nms(), in
 * float32 (docs/dev/spec/vae-text-face-formats.md 4). */
#include "engine/image/nms.h"

#define COLUMNS 16

typedef struct
{
  float x1, y1, x2, y2, score;
  const float *row;
  gboolean dropped;
} Candidate;

/* Sorts by falling score; equal scores keep their order. */
static gint
by_score (gconstpointer a, gconstpointer b)
{
  const Candidate *x = a, *y = b;

  if (x->score != y->score)
    return x->score < y->score ? 1 : -1;
  return x->row < y->row ? -1 : x->row > y->row;
}

static GArray *
list_candidates (const float *rows, gint64 n, float confidence)
{
  GArray *list = g_array_new (FALSE, FALSE, sizeof (Candidate));

  for (const float *row = rows; row < rows + n * COLUMNS; row += COLUMNS) {
    Candidate c = { row[0] - row[2] / 2, row[1] - row[3] / 2, row[0] + row[2] / 2,
      row[1] + row[3] / 2, row[15] * row[4], row, FALSE };

    if (row[4] > confidence && c.score > confidence)
      g_array_append_val (list, c);
  }
  g_array_sort (list, by_score);
  if (list->len > AVATAR_FACES_MAX)
    g_array_set_size (list, AVATAR_FACES_MAX);
  return list;
}

static gboolean
overlaps (const Candidate *a, const Candidate *b, float limit)
{
  float w = MAX (MIN (a->x2, b->x2) - MAX (a->x1, b->x1), 0.f);
  float h = MAX (MIN (a->y2, b->y2) - MAX (a->y1, b->y1), 0.f);
  float area_a = (a->x2 - a->x1) * (a->y2 - a->y1), area_b = (b->x2 - b->x1) * (b->y2 - b->y1);

  return w * h / (area_a + area_b - w * h) > limit;
}

static void
append_face (GArray *faces, const Candidate *c)
{
  AvatarFace face
      = { c->x1, c->y1, c->x2 - (double) c->x1, c->y2 - (double) c->y1, { { 0 } }, c->score };

  for (guint i = 0; i < 5; i++) {
    face.points[i][0] = c->row[5 + 2 * i];
    face.points[i][1] = c->row[6 + 2 * i];
  }
  g_array_append_val (faces, face);
}

GArray *
avatar_faces_select (const float *rows, gint64 n, float confidence, float overlap)
{
  g_autoptr (GArray) list = list_candidates (rows, n, confidence);
  GArray *faces = g_array_new (FALSE, FALSE, sizeof (AvatarFace));

  for (guint i = 0; i < list->len; i++) {
    const Candidate *c = &g_array_index (list, Candidate, i);

    if (c->dropped)
      continue;
    append_face (faces, c);
    for (guint j = i + 1; j < list->len; j++) {
      Candidate *other = &g_array_index (list, Candidate, j);

      other->dropped = other->dropped || overlaps (c, other, overlap);
    }
  }
  return faces;
}

const AvatarFace *
avatar_faces_largest (GArray *faces)
{
  const AvatarFace *largest = NULL;

  for (guint i = 0; i < faces->len; i++) {
    const AvatarFace *face = &g_array_index (faces, AvatarFace, i);

    if (!largest || face->width * face->height > largest->width * largest->height)
      largest = face;
  }
  return largest;
}
