/* /v1/images: the store's files and the registry's rows, kept in step. */
#include <stdio.h>
#include <string.h>

#include "common/host/clock.h"
#include "orchestrator/admin/handlers.h"
#include "orchestrator/admin/list.h"
#include "orchestrator/image_store.h"

#define USERS_SHOWN 1000u

static bool add_listed(void *arg, const struct registry_image *image)
{
    struct list *l = arg;
    uint64_t users = 0;

    if (registry_image_users_count(l->house->registry, image->id, &users))
        users = 0;
    snprintf(l->after, sizeof l->after, "%s:%s", image->name, image->version);
    list_add(l, object_image(image, json_integer((json_int_t)users)));
    return true;
}

static enum rc page(struct list *l)
{
    return registry_images(l->house->registry, *l->after ? l->after : NULL, LIST_PAGE, add_listed,
                           l);
}

void images_list(struct admin_request *q)
{
    list_answer(q, page);
}

static bool add_user(void *arg, const struct registry_tenant *tenant)
{
    json_array_append_new(arg, json_string(tenant->name));
    return true;
}

static json_t *image_with_users(struct admin_house *house, const struct registry_image *image)
{
    json_t *users = json_array();

    if (registry_image_users(house->registry, image->id, USERS_SHOWN, add_user, users))
        json_array_clear(users);
    return object_image(image, users);
}

void images_show(struct admin_request *q)
{
    struct registry_image image;
    struct refusal no;

    if (registry_image_by_ref(admin_of(q)->registry, admin_name(q), &image, &no))
        admin_refuse(q, &no);
    else
        admin_answer(q, 200, image_with_users(admin_of(q), &image));
}

/* A file that no row needs any more.  When that cannot be told it stays: the sweep at the next
 * start takes it. */
static void drop_file(struct admin_house *house, const char *sha256)
{
    bool used;

    if (registry_image_used(house->registry, sha256, &used) == RC_OK && !used &&
        image_store_remove(house->images, sha256))
        return;
}

void images_remove(struct admin_request *q)
{
    struct admin_house *house = admin_of(q);
    struct registry_image image;
    struct refusal no;

    if (registry_image_remove(house->registry, admin_name(q), clock_unix_ms(), &image, &no)) {
        admin_refuse(q, &no);
        return;
    }
    drop_file(house, image.sha256);
    fleet_events_changed(house->fleet);
    admin_answer(q, 200, json_object());
}

/*----- adding: begin, write..., finish, row -----*/

static bool begin(struct admin_request *q)
{
    char name[ADMIN_PATH_NAME_SIZE];
    struct image_add *add;
    struct refusal no;
    char *colon;

    snprintf(name, sizeof name, "%s", admin_name(q));
    colon = strchr(name, ':');
    if (!colon) {
        refusal_what(&no, RC_INVAL, "image %s is refused", name);
        refusal_why(&no, "it has no version");
        refusal_todo(&no, "name it NAME:VERSION, as its manifest does");
        admin_refuse(q, &no);
        return false;
    }
    *colon = '\0';
    if (image_add_begin(admin_of(q)->images, name, colon + 1, &add, &no)) {
        admin_refuse(q, &no);
        return false;
    }
    *admin_slot(q) = add;
    return true;
}

void images_upload(struct admin_request *q, const void *data, size_t len)
{
    struct refusal no;

    if (!*admin_slot(q) && !begin(q))
        return;
    if (image_add_write(*admin_slot(q), data, len, &no)) {
        images_abort(q);
        admin_refuse(q, &no);
    }
}

void images_abort(struct admin_request *q)
{
    image_add_abort(*admin_slot(q));
    *admin_slot(q) = NULL;
}

static void on_added(void *arg, enum rc rc, const struct image_facts *facts,
                     const struct refusal *no)
{
    struct admin_request *q = arg;
    struct admin_house *house = admin_of(q);
    struct registry_image image = {0};
    struct refusal refused;

    if (rc) {
        admin_refuse(q, no);
        return;
    }
    if (admin_refused_closed(q)) /* the file is swept at the next start */
        return;
    snprintf(image.name, sizeof image.name, "%s", facts->manifest.name);
    snprintf(image.version, sizeof image.version, "%s", facts->manifest.version);
    snprintf(image.alpn, sizeof image.alpn, "%s", facts->manifest.alpn);
    snprintf(image.sha256, sizeof image.sha256, "%s", facts->sha256);
    image.abi = facts->manifest.abi;
    image.memory_kib = facts->manifest.memory_kib;
    image.size = facts->size;
    if (registry_image_add(house->registry, &image, clock_unix_ms(), &image.id, &refused)) {
        drop_file(house, facts->sha256);
        admin_refuse(q, &refused);
        return;
    }
    if (registry_image(house->registry, image.id, &image)) {
        admin_fail(q, RC_DB, "cannot read the image that was added");
        return;
    }
    fleet_events_changed(house->fleet);
    admin_answer(q, 201, image_with_users(house, &image));
}

void images_add(struct admin_request *q)
{
    if (!*admin_slot(q) && !begin(q))
        return;
    admin_later(q);
    image_add_finish(*admin_slot(q), on_added, q);
}
