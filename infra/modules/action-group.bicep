// Who is told when the detector itself is in trouble, where no existing action group is given.

@description('Name of the action group.')
param name string

@description('Tags of every resource.')
param tags object

@description('E-mail address; empty: nobody is told, and the alerts are only listed in the portal.')
param emailAddress string

var operators = [
  {
    name: 'operators'
    emailAddress: emailAddress
    useCommonAlertSchema: true
  }
]

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: name
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'AutoDetect'
    emailReceivers: empty(emailAddress) ? [] : operators
  }
}

@description('Resource id of the action group.')
output resourceId string = actionGroup.id
