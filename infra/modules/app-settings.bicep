// The app settings that have a value. An empty one would not always mean what an absent one means.

@description('Name of the Function App.')
param appName string

@description('Name and value of each setting, secrets as Key Vault references.')
param settings object

resource app 'Microsoft.Web/sites@2024-04-01' existing = {
  name: appName
}

resource appSettings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'appsettings'
  properties: toObject(
    filter(items(settings), entry => !empty(entry.value)),
    entry => entry.key,
    entry => entry.value
  )
}
