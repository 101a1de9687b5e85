/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "secret.h"
#include "url.h"

#define CA_BYTES_MAX (1U << 20)

static int no_passphrase(char *buffer, int size, int is_writing, void *user)
{
	return 0;
}

/* libcurl would find out for each server anew, those that do not ask for it among them. */
static int is_client_usable(const struct qmr_network *network)
{
	BIO *bio = BIO_new_mem_buf(network->client, (int)network->client_size);
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
	EVP_PKEY *key = NULL;
	int is_usable;

	if (bio && BIO_reset(bio) == 1)
		key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	is_usable = certificate && key && X509_check_private_key(certificate, key) == 1;
	X509_free(certificate);
	EVP_PKEY_free(key);
	BIO_free(bio);
	ERR_clear_error();
	return is_usable;
}

static void read_secret(const char *root, const char *path, char **ret_data, size_t *ret_size)
{
	struct qmr_error why = {0};
	int r = qmr_secret_read(root, path, ret_data, ret_size, &why);

	if (r < 0 && r != -ENOENT)
		qmr_warning("%s; going on without it", why.text);
}

static void read_secrets(const struct qmr_config *config, const char *root, struct qmr_network *network)
{
	read_secret(root, config->proxy_user, &network->proxy_user, &network->proxy_user_size);
	if (network->proxy_user)
		network->proxy_user[strcspn(network->proxy_user, "\r\n")] = '\0';
	read_secret(root, config->client, &network->client, &network->client_size);
	if (network->client && !is_client_usable(network)) {
		qmr_warning("'%s' does not hold a certificate and its private key without a passphrase; going on without it",
			    config->client);
		qmr_secret_free(network->client, network->client_size);
		network->client = NULL;
	}
}

/* The administrator's own file: where the owner's CA is that of the system, it is a link. */
static int read_ca(const char *path, struct qmr_network *network, struct qmr_error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	return qmr_file_read_fd(fd, path, CA_BYTES_MAX, &network->ca, &network->ca_size, err);
}

int qmr_network_load(const struct qmr_config *config, const char *root, struct qmr_network *ret_network,
		     struct qmr_error *err)
{
	int r = qmr_url_check_proxy(config->proxy, err);

	*ret_network = (struct qmr_network){.proxy = config->proxy};
	if (r == 0)
		r = read_ca(config->ca, ret_network, err);
	if (r == 0)
		read_secrets(config, root, ret_network);
	return r;
}

void qmr_network_done(struct qmr_network *network)
{
	free(network->ca);
	qmr_secret_free(network->proxy_user, network->proxy_user_size);
	qmr_secret_free(network->client, network->client_size);
	*network = (struct qmr_network){0};
}

static CURLcode set_proxy(const struct qmr_network *network, struct curl_blob *ca, CURL *curl)
{
	CURLcode r = CURLE_OK;

	if (network->proxy && *network->proxy) {
		r |= curl_easy_setopt(curl, CURLOPT_PROXY, network->proxy);
		r |= curl_easy_setopt(curl, CURLOPT_NOPROXY, ""); /* nor by the environment */
	}
	if (network->proxy_user)
		r |= curl_easy_setopt(curl, CURLOPT_PROXYUSERPWD, network->proxy_user);
	r |= curl_easy_setopt(curl, CURLOPT_PROXYAUTH, (long)(CURLAUTH_BASIC | CURLAUTH_DIGEST));
	r |= curl_easy_setopt(curl, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	r |= curl_easy_setopt(curl, CURLOPT_PROXY_CAINFO_BLOB, ca);
	r |= curl_easy_setopt(curl, CURLOPT_PROXY_CAINFO, NULL);
	r |= curl_easy_setopt(curl, CURLOPT_PROXY_CAPATH, NULL);
	return r;
}

/* One file holds both: each reader passes over what it does not look for. */
static CURLcode set_client(const struct qmr_network *network, CURL *curl)
{
	struct curl_blob pem = {.data = network->client, .len = network->client_size, .flags = CURL_BLOB_NOCOPY};
	CURLcode r;

	if (!network->client)
		return CURLE_OK;
	r = curl_easy_setopt(curl, CURLOPT_SSLCERT_BLOB, &pem);
	r |= curl_easy_setopt(curl, CURLOPT_SSLCERTTYPE, "PEM");
	r |= curl_easy_setopt(curl, CURLOPT_SSLKEY_BLOB, &pem);
	r |= curl_easy_setopt(curl, CURLOPT_SSLKEYTYPE, "PEM");
	return r;
}

int qmr_network_set(const struct qmr_network *network, CURL *curl)
{
	struct curl_blob ca = {.data = network->ca, .len = network->ca_size, .flags = CURL_BLOB_NOCOPY};
	CURLcode r = curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &ca);

	r |= curl_easy_setopt(curl, CURLOPT_CAINFO, NULL);
	r |= curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	r |= set_proxy(network, &ca, curl);
	r |= set_client(network, curl);
	return r == CURLE_OK ? 0 : -ENOMEM;
}
