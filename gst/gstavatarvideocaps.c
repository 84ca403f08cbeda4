/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Latent caps <-> video caps: see the header. */
#include "gst/gstavatarvideocaps.h"

#include <avatar/error.h>

#include "gst/gstavatarcaps.h"

#define MAX_SIDE 32768

static const gchar *const sides[] = { "width", "height" };
static const gchar *const notes[] = { "video-width", "video-height" };

/* Says if downstream leaves this side of the picture to us. */
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
      gst_caps_set_value (caps, notes[i], side);
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
gst_avatar_video_caps_clear_notes (GstCaps *latents)
{
  for (guint i = 0; i < gst_caps_get_size (latents); i++)
    gst_structure_remove_fields (gst_caps_get_structure (latents, i), notes[0], notes[1], NULL);
}

/* Gets what @latents allow as width and height of the video; a side that is open stays unset. */
static void
get_sides (const GstStructure *latents, guint scale, GValue values[2])
{
  const gchar *string = gst_structure_get_string (latents, "dimensions");
  guint dims[GST_AVATAR_MAX_RANK];
  gboolean fixed = string && gst_avatar_dimensions_parse (string, dims, NULL);

  for (guint i = 0; i < G_N_ELEMENTS (sides); i++) {
    const GValue *note = gst_structure_get_value (latents, notes[i]);

    if (fixed) {
      g_value_init (&values[i], G_TYPE_INT);
      g_value_set_int (&values[i], (gint) MIN (dims[i] * scale, G_MAXINT));
    } else if (note) {
      gst_value_init_and_copy (&values[i], note);
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

/* The multiple of @step that is allowed and nearest to @wanted; 0: there is none. */
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

/* The side that cannot be as it is comes first, the other follows in proportion. */
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

/* Says what is asked for and not possible, and where that is one size, what is next to it. */
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
      "downstream wants a video of %s x %s pixels: model %s makes sizes whose sides are multiples "
      "of %u%s; ask for such a size, or put videoscale behind avatarvaedecode",
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
  const GstStructure *taken;
  GPtrArray *misfits; /* of strings */
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
add_misfit (GPtrArray *misfits, const gchar *field, const gchar *made, const gchar *taken)
{
  const gchar *element = remedy (field);

  g_ptr_array_add (misfits,
      g_strdup_printf ("%s is %s, downstream takes %s%s%s", field, made, taken,
          element ? ": put in " : "", element ? element : ""));
}

static gboolean
compare_field (GQuark id, const GValue *made, gpointer user_data)
{
  Comparison *comparison = user_data;
  const GValue *taken = gst_structure_id_get_value (comparison->taken, id);
  g_autofree gchar *made_string = NULL, *taken_string = NULL;

  if (!taken || gst_value_intersect (NULL, made, taken))
    return TRUE;
  made_string = gst_value_serialize (made);
  taken_string = gst_value_serialize (taken);
  add_misfit (comparison->misfits, g_quark_to_string (id), made_string, taken_string);
  return TRUE;
}

static GPtrArray *
compare (const GstCaps *made, const GstCaps *taken, guint i)
{
  const GstStructure *s = gst_caps_get_structure (made, 0);
  GstCapsFeatures *have = gst_caps_get_features (made, 0), *want = gst_caps_get_features (taken, i);
  Comparison comparison
      = { gst_caps_get_structure (taken, i), g_ptr_array_new_with_free_func (g_free) };

  if (!gst_structure_has_name (s, gst_structure_get_name (comparison.taken))) {
    add_misfit (comparison.misfits, "media type", gst_structure_get_name (s),
        gst_structure_get_name (comparison.taken));
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
gst_avatar_video_caps_explain (const GstCaps *made, const GstCaps *taken)
{
  g_autoptr (GPtrArray) best = NULL;

  for (guint i = 0; i < gst_caps_get_size (taken); i++) {
    GPtrArray *misfits = compare (made, taken, i);

    if (best && best->len <= misfits->len) {
      g_ptr_array_unref (misfits);
      continue;
    }
    g_clear_pointer (&best, g_ptr_array_unref);
    best = misfits;
  }
  if (!best || best->len == 0)
    return g_strdup ("what downstream takes contradicts itself: look at the caps filters");
  g_ptr_array_add (best, NULL);
  return g_strjoinv ("; ", (gchar **) best->pdata);
}
