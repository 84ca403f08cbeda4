/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tensor caps: see the header. Arrays of dimensions are innermost first, shapes in comments
 * outermost first. */
#include "gst/gstavatarcaps.h"

#include <avatar/error.h>

/* Limits that keep the product of garbage dimensions from overflowing. */
#define MAX_DIM 65536u
#define MAX_ELEMENTS ((guint64) 1 << 30)

gboolean
gst_avatar_dimensions_parse (const gchar *string, guint dims[GST_AVATAR_MAX_RANK], GError **error)
{
  const gchar *p = string;
  guint64 elements = 1;

  for (guint i = 0; i < GST_AVATAR_MAX_RANK; i++)
    dims[i] = 1;
  for (guint rank = 0;; rank++) {
    gchar *end = NULL;
    guint64 dim;

    if (!g_ascii_isdigit (*p))
      break;
    dim = g_ascii_strtoull (p, &end, 10);
    if (dim == 0 || dim > MAX_DIM || rank >= 16 || (rank >= GST_AVATAR_MAX_RANK && dim != 1))
      break;
    elements *= dim;
    if (elements > MAX_ELEMENTS)
      break;
    if (rank < GST_AVATAR_MAX_RANK)
      dims[rank] = (guint) dim;
    if (*end == '\0')
      return TRUE;
    if (*end != ':')
      break;
    p = end + 1;
  }
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
      "tensor dimensions \"%s\" are invalid: expected up to %d numbers from 1 to %u, innermost first, "
      "such as 64:5:10",
      string, GST_AVATAR_MAX_RANK, MAX_DIM);
  return FALSE;
}

gchar *
gst_avatar_dimensions_to_string (const guint dims[GST_AVATAR_MAX_RANK], guint rank)
{
  GString *string = g_string_new (NULL);
  guint n = GST_AVATAR_MAX_RANK;

  while (n > MAX (rank, 1) && dims[n - 1] == 1)
    n--;
  for (guint i = 0; i < n; i++)
    g_string_append_printf (string, "%s%u", i ? ":" : "", dims[i]);
  return g_string_free (string, FALSE);
}

static GstCaps *
caps_new (const guint dims[GST_AVATAR_MAX_RANK], guint min_rank, gint rate_n, gint rate_d,
    const gchar *kind, const gchar *model)
{
  GstCaps *caps = gst_caps_new_empty ();

  for (guint rank = min_rank; rank <= GST_AVATAR_MAX_RANK;
       rank = rank < GST_AVATAR_MAX_RANK ? GST_AVATAR_MAX_RANK : rank + 1) {
    g_autofree gchar *string = gst_avatar_dimensions_to_string (dims, rank);
    GstStructure *s = gst_structure_from_string (GST_AVATAR_TENSOR_CAPS, NULL);

    gst_structure_set (s, "dimensions", G_TYPE_STRING, string, NULL);
    if (rate_n > 0 && rate_d > 0)
      gst_structure_set (s, "framerate", GST_TYPE_FRACTION, rate_n, rate_d, NULL);
    if (model)
      gst_structure_set (s, "avatar", G_TYPE_STRING, kind, "model", G_TYPE_STRING, model, NULL);
    gst_caps_append_structure (caps, s);
  }
  return caps;
}

GstCaps *
gst_avatar_caps_new_features (const GstAvatarFeatureInfo *info, const gchar *model)
{
  const guint dims[GST_AVATAR_MAX_RANK] = { info->channels, info->states, info->steps, 1 };

  return caps_new (dims, 3, info->fps_n, info->fps_d, "features", model);
}

GstCaps *
gst_avatar_caps_new_latents (const GstAvatarLatentInfo *info, const gchar *model)
{
  const guint dims[GST_AVATAR_MAX_RANK] = { info->width, info->height, 1, info->channels };
  gint rate_n = 0, rate_d = 0;
  GstCaps *caps;

  if (info->fps_n > 0 && info->fps_d > 0)
    gst_util_fraction_multiply (info->fps_n, info->fps_d, 1, 4, &rate_n, &rate_d);
  caps = caps_new (dims, 4, rate_n, rate_d, "latents", model);
  if (info->window > 0)
    gst_caps_set_simple (caps, "window-latents", G_TYPE_INT, info->window, "overlap", G_TYPE_INT,
        info->overlap, NULL);
  return caps;
}

/* Reads the windows of the denoiser, which foreign latents do not have. */
static gboolean
parse_windows (const GstStructure *s, GstAvatarLatentInfo *info, GError **error)
{
  gint window = 0, overlap = 0;

  info->window = info->overlap = 0;
  if (!gst_structure_has_field (s, "window-latents"))
    return TRUE;
  if (!gst_structure_get (s, "window-latents", G_TYPE_INT, &window, "overlap", G_TYPE_INT, &overlap,
          NULL)
      || window < 1 || overlap < 0 || overlap >= window) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "caps of latents with window-latents=%d and overlap=%d: expected integers, of which overlap "
        "is smaller",
        window, overlap);
    return FALSE;
  }
  info->window = window;
  info->overlap = overlap;
  return TRUE;
}

static gboolean
caps_parse (const GstCaps *caps, const gchar *kind, const gchar *model,
    guint dims[GST_AVATAR_MAX_RANK], gint *rate_n, gint *rate_d, GError **error)
{
  const GstStructure *s;
  const gchar *string;

  if (gst_caps_get_size (caps) != 1
      || !gst_structure_has_name (s = gst_caps_get_structure (caps, 0), "other/tensors")) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "expected %s as %s", kind,
        GST_AVATAR_TENSOR_CAPS);
    return FALSE;
  }
  if (g_strcmp0 (gst_structure_get_string (s, "types"), "float32") != 0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s of type %s: expected float32", kind,
        gst_structure_get_string (s, "types") ?: "unknown");
    return FALSE;
  }
  string = gst_structure_get_string (s, "avatar");
  if (string && g_str_equal (string, kind) == FALSE) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "the tensors are %s: expected %s; check that no element is missing in the pipeline", string,
        kind);
    return FALSE;
  }
  string = gst_structure_get_string (s, "model");
  if (model && string && !g_str_equal (string, model)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "the %s come from model %s, this element uses model %s: set the same model property on all "
        "elements",
        kind, string, model);
    return FALSE;
  }
  string = gst_structure_get_string (s, "dimensions");
  if (!string) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "the caps of the %s have no dimensions: expected a field such as dimensions=64:5:10", kind);
    return FALSE;
  }
  *rate_n = *rate_d = 0;
  gst_structure_get_fraction (s, "framerate", rate_n, rate_d);
  return gst_avatar_dimensions_parse (string, dims, error);
}

gboolean
gst_avatar_caps_parse_features (const GstCaps *caps, const gchar *model, GstAvatarFeatureInfo *info,
    GError **error)
{
  guint dims[GST_AVATAR_MAX_RANK];

  if (!caps_parse (caps, "features", model, dims, &info->fps_n, &info->fps_d, error))
    return FALSE;
  if (dims[3] != 1) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "features of rank 4 [%u, %u, %u, %u]: expected [steps, states, channels]", dims[3], dims[2],
        dims[1], dims[0]);
    return FALSE;
  }
  info->channels = dims[0];
  info->states = dims[1];
  info->steps = dims[2];
  return TRUE;
}

gboolean
gst_avatar_caps_parse_latents (const GstCaps *caps, const gchar *model, GstAvatarLatentInfo *info,
    GError **error)
{
  guint dims[GST_AVATAR_MAX_RANK];

  if (!caps_parse (caps, "latents", model, dims, &info->fps_n, &info->fps_d, error))
    return FALSE;
  if (dims[2] != 1) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "%u latent frames in a buffer: expected 1, as in dimensions width:height:1:channels",
        dims[2]);
    return FALSE;
  }
  if (info->fps_n > 0 && info->fps_d > 0)
    gst_util_fraction_multiply (info->fps_n, info->fps_d, 4, 1, &info->fps_n, &info->fps_d);
  info->width = dims[0];
  info->height = dims[1];
  info->channels = dims[3];
  return parse_windows (gst_caps_get_structure (caps, 0), info, error);
}

gsize
gst_avatar_feature_info_get_size (const GstAvatarFeatureInfo *info)
{
  return sizeof (float) * info->steps * info->states * info->channels;
}

gsize
gst_avatar_latent_info_get_size (const GstAvatarLatentInfo *info)
{
  return sizeof (float) * info->channels * info->height * info->width;
}

gboolean
gst_avatar_latent_info_ends_window (const GstAvatarLatentInfo *info, guint64 k)
{
  return info->window > 0 && k + 1 >= info->window
      && (k + 1 - info->overlap) % (info->window - info->overlap) == 0;
}
