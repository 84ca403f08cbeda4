/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Caps of latents and video: see the header. */
#include "gst/gstavatarvideocaps.h"

#include <avatar/error.h>

#include "gst/gstavatarcaps.h"

#define MAX_SIDE 32768

static const gchar *const sides[] = { "width", "height" };
static const gchar *const size_fields[] = { "video-width", "video-height" };

/* Returns %TRUE if downstream accepts any value for this side of the picture. */
static gboolean
is_open (const GValue *side)
{
  GValue all = G_VALUE_INIT;
  gboolean open;

  if (!side)
    return TRUE;
  g_value_init (&all, GST_TYPE_INT_RANGE);
  gst_value_set_int_range (&all, 1, MAX_SIDE);
  open = gst_value_is_subset (&all, side);
  g_value_unset (&all);
  return open;
}

static GstCaps *
latents_of_video (const GstStructure *video, const AvatarModelInfo *info)
{
  GstAvatarLatentInfo latent = { 0 };
  GstCaps *caps;
  gint width, height;

  if (info && gst_structure_get_int (video, "width", &width)
      && gst_structure_get_int (video, "height", &height) && width % info->latent_scale == 0
      && height % info->latent_scale == 0) {
    latent.channels = info->latent_channels;
    latent.width = width / info->latent_scale;
    latent.height = height / info->latent_scale;
    return gst_avatar_caps_new_latents (&latent, NULL);
  }
  caps = gst_caps_from_string (GST_AVATAR_TENSOR_CAPS);
  for (guint i = 0; i < G_N_ELEMENTS (sides); i++) {
    const GValue *side = gst_structure_get_value (video, sides[i]);

    if (!is_open (side))
      gst_caps_set_value (caps, size_fields[i], side);
  }
  return caps;
}

GstCaps *
gst_avatar_video_caps_to_latents (GstCaps *caps, const AvatarModelInfo *info)
{
  GstCaps *ret = gst_caps_new_empty ();

  for (guint i = 0; i < gst_caps_get_size (caps); i++)
    ret = gst_caps_merge (ret, latents_of_video (gst_caps_get_structure (caps, i), info));
  return ret;
}

GstCaps *
gst_avatar_video_caps_from_latents (GstCaps *caps, const AvatarModelInfo *info)
{
  GstCaps *ret = gst_caps_new_empty ();

  for (guint i = 0; i < gst_caps_get_size (caps); i++) {
    g_autoptr (GstCaps) one = gst_caps_copy_nth (caps, i);
    GstCaps *video = gst_caps_from_string (GST_AVATAR_VIDEO_CAPS);
    GstAvatarLatentInfo latent;

    if (info && gst_avatar_caps_parse_latents (one, NULL, &latent, NULL)) {
      gst_caps_set_simple (video, "width", G_TYPE_INT, (gint) (latent.width * info->latent_scale),
          "height", G_TYPE_INT, (gint) (latent.height * info->latent_scale), "pixel-aspect-ratio",
          GST_TYPE_FRACTION, 1, 1, "interlace-mode", G_TYPE_STRING, "progressive", NULL);
      if (latent.fps_n > 0 && latent.fps_d > 0)
        gst_caps_set_simple (video, "framerate", GST_TYPE_FRACTION, latent.fps_n, latent.fps_d,
            NULL);
      else
        gst_caps_set_simple (video, "framerate", GST_TYPE_FRACTION, (gint) info->fps, 1, NULL);
    }
    ret = gst_caps_merge (ret, video);
  }
  return ret;
}

void
gst_avatar_video_caps_clear_sizes (GstCaps *latents)
{
  for (guint i = 0; i < gst_caps_get_size (latents); i++)
    gst_structure_remove_fields (gst_caps_get_structure (latents, i), size_fields[0],
        size_fields[1], NULL);
}

/* Gets the widths and heights of the video that @latents allow; a side without restriction stays
 * unset. */
static void
get_sides (const GstStructure *latents, guint scale, GValue values[2])
{
  const gchar *string = gst_structure_get_string (latents, "dimensions");
  guint dims[GST_AVATAR_MAX_RANK];
  gboolean fixed = string && gst_avatar_dimensions_parse (string, dims, NULL);

  for (guint i = 0; i < G_N_ELEMENTS (sides); i++) {
    const GValue *value = gst_structure_get_value (latents, size_fields[i]);

    if (fixed) {
      g_value_init (&values[i], G_TYPE_INT);
      g_value_set_int (&values[i], (gint) MIN (dims[i] * scale, G_MAXINT));
    } else if (value) {
      gst_value_init_and_copy (&values[i], value);
    }
  }
}

static void
clear_sides (GValue values[2])
{
  for (guint i = 0; i < G_N_ELEMENTS (sides); i++) {
    if (G_IS_VALUE (&values[i]))
      g_value_unset (&values[i]);
  }
}

static gboolean
admits (const GValue *side, guint pixels)
{
  GValue value = G_VALUE_INIT;
  gboolean ret;

  if (!G_IS_VALUE (side))
    return TRUE;
  g_value_init (&value, G_TYPE_INT);
  g_value_set_int (&value, (gint) pixels);
  ret = gst_value_intersect (NULL, &value, side);
  g_value_unset (&value);
  return ret;
}

/* Returns the allowed multiple of @step that is nearest to @wanted, or 0. */
static guint
nearest (const GValue *side, guint step, guint wanted)
{
  guint best = 0;

  for (guint pixels = step; pixels <= MAX_SIDE; pixels += step) {
    guint away = pixels > wanted ? pixels - wanted : wanted - pixels;

    if (best && away >= (best > wanted ? best - wanted : wanted - best))
      continue;
    if (admits (side, pixels))
      best = pixels;
  }
  return best;
}

/* Changes the side that is not allowed first; the other follows in proportion. */
static gboolean
nearest_size (const GstStructure *s, const AvatarModelInfo *info, guint *width, guint *height)
{
  const guint own[2] = { *width, *height };
  GValue values[2] = { G_VALUE_INIT, G_VALUE_INIT };
  guint first, other, size[2];

  get_sides (s, info->latent_scale, values);
  first = admits (&values[0], own[0]) ? 1 : 0;
  other = 1 - first;
  size[first] = nearest (&values[first], info->size_multiple, own[first]);
  size[other] = nearest (&values[other], info->size_multiple,
      (guint) gst_util_uint64_scale_round (own[other], size[first], own[first]));
  clear_sides (values);
  if (!size[0] || !size[1])
    return FALSE;
  *width = size[0];
  *height = size[1];
  return TRUE;
}

static gboolean
admits_size (const GstStructure *s, guint scale, guint width, guint height, gboolean *demanded)
{
  GValue values[2] = { G_VALUE_INIT, G_VALUE_INIT };
  gboolean ret;

  get_sides (s, scale, values);
  ret = admits (&values[0], width) && admits (&values[1], height);
  *demanded = G_VALUE_HOLDS_INT (&values[0]) && G_VALUE_HOLDS_INT (&values[1]);
  clear_sides (values);
  return ret;
}

static gchar *
side_to_string (const GValue *side)
{
  return G_IS_VALUE (side) ? gst_value_serialize (side) : g_strdup ("any");
}

/* Reports the size that is not possible; if it is a single size, also the nearest possible one. */
static void
set_size_error (const GstStructure *s, const AvatarModelInfo *info, GError **error)
{
  GValue values[2] = { G_VALUE_INIT, G_VALUE_INIT };
  g_autofree gchar *width = NULL, *height = NULL, *hint = NULL;

  get_sides (s, info->latent_scale, values);
  width = side_to_string (&values[0]);
  height = side_to_string (&values[1]);
  if (G_VALUE_HOLDS_INT (&values[0]) && G_VALUE_HOLDS_INT (&values[1])) {
    const GValue any = G_VALUE_INIT;
    hint = g_strdup_printf (", the nearest is %u x %u",
        nearest (&any, info->size_multiple, g_value_get_int (&values[0])),
        nearest (&any, info->size_multiple, g_value_get_int (&values[1])));
  }
  clear_sides (values);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "downstream asks for a video of %s x %s pixels: model %s supports widths and heights that are "
      "multiples of %u%s; use such a size, or add videoscale after avatarvaedecode",
      width, height, info->name, info->size_multiple, hint ? hint : "");
}

gboolean
gst_avatar_video_caps_choose_size (const GstCaps *latents, const AvatarModelInfo *info,
    guint *width, guint *height, gboolean *demanded, GError **error)
{
  guint n = latents && !gst_caps_is_any (latents) ? gst_caps_get_size (latents) : 0;

  *demanded = FALSE;
  for (guint i = 0; i < n; i++) {
    const GstStructure *s = gst_caps_get_structure (latents, i);

    if (admits_size (s, info->latent_scale, *width, *height, demanded))
      return TRUE;
  }
  *demanded = n > 0;
  for (guint i = 0; i < n; i++) {
    if (nearest_size (gst_caps_get_structure (latents, i), info, width, height))
      return TRUE;
  }
  if (n > 0)
    set_size_error (gst_caps_get_structure (latents, 0), info, error);
  return n == 0;
}

typedef struct
{
  const GstStructure *accepted;
  GPtrArray *misfits; /* strings */
} Comparison;

static const gchar *
remedy (const gchar *field)
{
  static const gchar *const remedies[][2] = { { "width", "videoscale" }, { "height", "videoscale" },
    { "pixel-aspect-ratio", "videoscale" }, { "framerate", "videorate" },
    { "format", "videoconvert" }, { "colorimetry", "videoconvert" },
    { "chroma-site", "videoconvert" }, { "interlace-mode", "interlace" } };

  for (guint i = 0; i < G_N_ELEMENTS (remedies); i++) {
    if (g_str_equal (field, remedies[i][0]))
      return remedies[i][1];
  }
  return NULL;
}

static void
add_misfit (GPtrArray *misfits, const gchar *field, const gchar *produced, const gchar *accepted)
{
  const gchar *element = remedy (field);

  g_ptr_array_add (misfits,
      g_strdup_printf ("%s is %s, downstream accepts %s%s%s", field, produced, accepted,
          element ? ": add " : "", element ? element : ""));
}

static gboolean
compare_field (GQuark id, const GValue *produced, gpointer user_data)
{
  Comparison *comparison = user_data;
  const GValue *accepted = gst_structure_id_get_value (comparison->accepted, id);
  g_autofree gchar *produced_string = NULL, *accepted_string = NULL;

  if (!accepted || gst_value_intersect (NULL, produced, accepted))
    return TRUE;
  produced_string = gst_value_serialize (produced);
  accepted_string = gst_value_serialize (accepted);
  add_misfit (comparison->misfits, g_quark_to_string (id), produced_string, accepted_string);
  return TRUE;
}

static GPtrArray *
compare (const GstCaps *produced, const GstCaps *accepted, guint i)
{
  const GstStructure *s = gst_caps_get_structure (produced, 0);
  GstCapsFeatures *have = gst_caps_get_features (produced, 0),
                  *want = gst_caps_get_features (accepted, i);
  Comparison comparison
      = { gst_caps_get_structure (accepted, i), g_ptr_array_new_with_free_func (g_free) };

  if (!gst_structure_has_name (s, gst_structure_get_name (comparison.accepted))) {
    add_misfit (comparison.misfits, "media type", gst_structure_get_name (s),
        gst_structure_get_name (comparison.accepted));
    return comparison.misfits;
  }
  if (!gst_caps_features_is_equal (have, want)) {
    g_autofree gchar *have_string = gst_caps_features_to_string (have);
    g_autofree gchar *want_string = gst_caps_features_to_string (want);
    add_misfit (comparison.misfits, "memory", have_string, want_string);
  }
  gst_structure_foreach (s, compare_field, &comparison);
  return comparison.misfits;
}

gchar *
gst_avatar_video_caps_explain (const GstCaps *produced, const GstCaps *accepted)
{
  g_autoptr (GPtrArray) best = NULL;

  for (guint i = 0; i < gst_caps_get_size (accepted); i++) {
    GPtrArray *misfits = compare (produced, accepted, i);

    if (best && best->len <= misfits->len) {
      g_ptr_array_unref (misfits);
      continue;
    }
    g_clear_pointer (&best, g_ptr_array_unref);
    best = misfits;
  }
  if (!best || best->len == 0)
    return g_strdup (
        "the caps that downstream accepts contradict each other: check the caps filters");
  g_ptr_array_add (best, NULL);
  return g_strjoinv ("; ", (gchar **) best->pdata);
}
