/** Photographs and their paintings, in the browser's own storage, so that a reload loses none. */

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

/** All that was kept, oldest first; nothing where the browser keeps nothing. */
export const all = () => run("readonly", (store) => store.getAll()).catch(() => []);

/** Rejects where there is no more room. */
export const put = (record) => run("readwrite", (store) => store.put(record));

export const remove = (id) => run("readwrite", (store) => store.delete(id)).catch(() => {});

export const clear = () => run("readwrite", (store) => store.clear()).catch(() => {});
