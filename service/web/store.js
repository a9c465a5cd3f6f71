/** Photographs and their paintings in IndexedDB, so that they survive a reload. */

const DATABASE = "paintings";
const STORE = "pictures";

let opening = null;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function run(mode, action) {
  const database = await open();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, mode);
    const request = action(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request.error);
  });
}

/** All stored pictures, oldest first; none if the browser does not allow storage. */
export const all = () => run("readonly", (store) => store.getAll()).catch(() => []);

/** Rejects if there is no more room. */
export const put = (record) => run("readwrite", (store) => store.put(record));

export const remove = (id) => run("readwrite", (store) => store.delete(id)).catch(() => {});

export const clear = () => run("readwrite", (store) => store.clear()).catch(() => {});
